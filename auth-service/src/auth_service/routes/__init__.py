"""HTTP in: parse, call, translate."""
