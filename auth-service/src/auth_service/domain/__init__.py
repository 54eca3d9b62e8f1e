"""What auth-service promises: accounts, sessions, quota and audit, without a driver or a framework."""
