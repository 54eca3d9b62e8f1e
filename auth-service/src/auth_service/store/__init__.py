"""PostgreSQL: named statements, each under the organization it speaks of."""
