"""Run an app's image in a Docker-compatible engine."""
