"""HTTP/1.1 towards clients: limits on what may come in, and how long it may take."""
