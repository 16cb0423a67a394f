"""Deliver what was built: to an engine, to registries, to an OCI layout or an archive."""
