"""I/O out: the rate limits shared with other gateways."""
