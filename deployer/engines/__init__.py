"""What runs an image's processes: a Docker-compatible engine, one container for each process of the formation."""
