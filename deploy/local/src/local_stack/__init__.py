"""The MultiDB stack on one machine, without containers: engines, services and their supervisor."""
