"""Inboxes and live notifications of MultiDB."""
