"""Commands that hold others."""
