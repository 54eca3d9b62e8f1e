"""Neighbours that notification-service asks."""
