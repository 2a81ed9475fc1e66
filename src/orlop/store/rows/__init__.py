"""Rows: what a store knows beside bytes."""
