"""HTTP with indexes, registries and engines: time limits, TLS, connections, and when to ask again."""
