"""I/O out: CQL, Redis and the journals on disk."""
