"""Engines run apps: container engines with a container for each process, and this machine with processes."""
