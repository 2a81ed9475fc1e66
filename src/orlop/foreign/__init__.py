"""What other engines left on a disk, read without them: images, names and layers of their data roots."""
