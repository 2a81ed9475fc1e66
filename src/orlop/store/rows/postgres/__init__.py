"""Rows in PostgreSQL, for a store that several machines share."""
