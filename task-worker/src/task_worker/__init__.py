"""Background analysis and research of MultiDB: an API process and worker processes over one PostgreSQL database."""
