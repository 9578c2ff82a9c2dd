"""What the players minimise: one file per kind of loss."""
