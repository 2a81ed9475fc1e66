"""The version, said once: the build reads it from here and the command line prints it without importing more."""

__version__ = "0.1.0"
