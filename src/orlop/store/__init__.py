"""What is kept: blobs, layers, images, references."""
