"""``sync``: repositories that are kept as a file says, from any place to any other."""
