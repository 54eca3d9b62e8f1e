"""The database engines of the local stack: PostgreSQL, two Valkeys and Apache Cassandra, run from packages."""
