"""Where images come from over the network."""
