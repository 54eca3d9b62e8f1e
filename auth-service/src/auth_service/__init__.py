"""Accounts, sessions, plans, quota and the audit log of MultiDB."""
