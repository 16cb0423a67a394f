"""The process runner: on this machine, and inside images as their entry point.

Imports nothing of ours and nothing but honcho, because images carry it; keeps to Python 3.10. This
file imports nothing at all: a container that starts one process pays for what it uses only.
"""
