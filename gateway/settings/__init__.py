"""The configuration: its schema, its files, and the facts and prices it becomes, once."""
