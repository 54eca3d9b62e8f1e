"""The one door of MultiDB: identity, limits, routing."""
