"""Commands beside Lightning's own: one plain typed function a file, named as the file."""
