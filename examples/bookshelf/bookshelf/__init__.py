"""Bookshelf: a catalogue with covers drawn by a queue. The example with web, worker and release processes."""

from bookshelf.web import create_app

APP = create_app()
