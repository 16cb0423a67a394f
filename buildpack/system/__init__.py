"""Processes, users, temporary files and programs' formats: all that a build needs of the operating system."""
