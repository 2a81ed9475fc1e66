"""A store's directory as a whole: its files, new ones, copies."""
