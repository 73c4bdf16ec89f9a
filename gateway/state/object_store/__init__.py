"""The table of owned objects, in a SQLite file or in PostgreSQL."""
