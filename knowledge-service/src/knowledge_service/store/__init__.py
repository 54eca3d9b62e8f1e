"""I/O out: CQL, Redis and the local disk."""
