"""Bases of images: this host's interpreter, an image of a registry, or an image on disk."""
