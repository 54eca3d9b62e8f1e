"""Conversations: messages, sessions, history, feedback and live analytics."""
