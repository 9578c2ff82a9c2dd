"""What measures images: one metric a file, each a pure function of features."""
