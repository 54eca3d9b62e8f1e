"""What a task promises: submitted once, run until it ends, told once, charged once."""
