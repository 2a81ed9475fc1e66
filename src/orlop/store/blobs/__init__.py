"""Bytes by their digest, and what is derived from them."""
