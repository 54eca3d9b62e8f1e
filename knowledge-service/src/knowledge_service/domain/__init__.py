"""What this service promises, free of frameworks and drivers."""
