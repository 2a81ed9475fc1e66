"""What is there: lists, one image, its history; and the names people find it by."""
