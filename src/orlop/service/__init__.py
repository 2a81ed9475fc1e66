"""One user verb per module; ``ImageService`` composes them."""
