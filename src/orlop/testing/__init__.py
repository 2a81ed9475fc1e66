"""For who implements a seam: the contract suites that every implementation must pass, and images to test with.

Needs the extra ``orlop[testing]``.
"""
