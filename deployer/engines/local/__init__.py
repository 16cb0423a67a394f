"""Run an app as processes of this machine."""
