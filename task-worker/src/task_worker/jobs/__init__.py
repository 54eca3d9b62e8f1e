"""The work itself: analyze and research."""
