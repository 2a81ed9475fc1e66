"""Damage of a database: found, told, and mended."""
