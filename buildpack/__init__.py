"""App folder in, container image out: a library that prints nothing."""
