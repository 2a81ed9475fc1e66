"""What is inside an image: the merged view of its layers, from their tables of contents."""
