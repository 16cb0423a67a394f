"""Readers of an app's folder: its files, Procfile, lock, Python version, app object and settings."""
