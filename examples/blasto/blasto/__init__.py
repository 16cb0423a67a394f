"""Blasto: a tiny Flask app that serves a catalogue of fireworks."""

from blasto.app import create_app

APP = create_app()
