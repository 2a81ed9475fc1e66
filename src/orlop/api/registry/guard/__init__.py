"""The guard in front of the registry: who may do what, how much and how often, and who is told of it."""
