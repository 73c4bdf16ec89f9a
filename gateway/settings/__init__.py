"""The configuration: its schema, its files, and the facts and prices built from it."""
