"""Build an image and deliver it: to an engine, to registries, or to the disk."""
