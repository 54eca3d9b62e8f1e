"""Redis: inboxes as streams, and the channel that wakes live streams."""
