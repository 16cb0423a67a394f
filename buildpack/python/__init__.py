"""Finds, fetches and builds wheels, turns them into files of a virtual environment, and compiles byte code."""
