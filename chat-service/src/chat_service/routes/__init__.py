"""HTTP in: parse, call the domain, translate."""
