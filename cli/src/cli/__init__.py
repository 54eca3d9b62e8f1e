"""The `faq` command and the Python client of MultiDB; talks to the gateway only."""

__version__ = "0.1.0"
