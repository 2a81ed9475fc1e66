"""The page: an image as one HTML file, or as the data that a server sends."""
