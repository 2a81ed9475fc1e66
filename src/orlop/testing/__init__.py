"""Contract suites that every implementation of a seam must pass, and images to test with.

Needs the extra ``orlop[testing]``.
"""
