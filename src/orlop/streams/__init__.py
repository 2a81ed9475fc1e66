"""Bytes in motion: hashing, compression, tar, durable files."""
