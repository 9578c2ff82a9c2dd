"""What is wrong with a folder of images, and what training makes of each."""
