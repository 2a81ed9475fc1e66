"""The store as a registry: its repositories, what is pushed to them and pulled from them, below any protocol."""
