"""What notification-service promises: one notification per event, in order, to its user alone."""
