"""A small OCI toolkit: digests, layers, images, the store, archives, registries and engine loading."""
