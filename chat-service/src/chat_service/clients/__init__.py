"""I/O out: the neighbours auth-service and knowledge-service."""
