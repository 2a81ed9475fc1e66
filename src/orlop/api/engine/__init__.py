"""The image part of the Docker Engine API."""
