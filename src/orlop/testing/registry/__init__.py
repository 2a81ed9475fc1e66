"""A registry to test with, which can be as odd as real ones are."""
