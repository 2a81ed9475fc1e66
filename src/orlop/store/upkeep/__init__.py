"""Upkeep: garbage, checks, repairs."""
