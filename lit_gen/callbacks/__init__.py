"""Lightning callbacks: one a file, each with its own constructor options in images."""
