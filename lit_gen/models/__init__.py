"""LightningModules: one family of generative models a file."""
