"""The one way in, whatever the source: what an image's files must be, and the transaction that keeps them."""
