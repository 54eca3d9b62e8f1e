"""I/O out: the services behind the gateway."""
