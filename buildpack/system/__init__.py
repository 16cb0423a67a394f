"""Processes, users and temporary files: what a build asks of the operating system."""
