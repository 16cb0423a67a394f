"""What an app's folder says: its files, Procfile, lock, Python version, app object and settings."""
