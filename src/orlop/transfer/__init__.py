"""Content on its way from one place to another, by digest: sources, targets, and what is carried between them."""
