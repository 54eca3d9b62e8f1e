"""What the gateway promises: who is let in, how often, and what it says of the whole."""
