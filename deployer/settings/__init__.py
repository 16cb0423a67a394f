"""Reads what the user configures: deploy.toml, environment variables, and the app's own variables."""
