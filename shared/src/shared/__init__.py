"""Wire contracts and service defaults: the only package that every MultiDB service may import."""

__version__ = "0.1.0"
