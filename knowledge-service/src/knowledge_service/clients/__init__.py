"""Calls to neighbours."""
