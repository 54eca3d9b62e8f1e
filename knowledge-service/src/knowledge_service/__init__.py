"""Articles, publishing and answering: what an organization knows, and which of it answers a question."""
