"""The small SQL databases of the gateway: a SQLite file of one machine, or PostgreSQL."""
