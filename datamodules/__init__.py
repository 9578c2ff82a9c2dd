"""Image data for lit_gen: one file per data source, each a LightningDataModule that YAML can name."""
