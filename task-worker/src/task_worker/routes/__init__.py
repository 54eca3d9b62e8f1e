"""HTTP in: the public task paths and what neighbours may ask."""
