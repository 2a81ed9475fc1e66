"""A pull-through cache: what a registry elsewhere has, fetched when it is asked for, and kept."""
