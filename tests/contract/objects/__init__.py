"""What the database of owned objects promises: SQLite and PostgreSQL alike."""
