"""The page of a store: what browsers are answered."""
