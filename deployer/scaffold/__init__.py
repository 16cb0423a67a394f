"""Writes for `deploy init`: the conventional layout of a new app, or what an app that is there lacks."""
