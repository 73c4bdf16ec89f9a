"""What each key database promises: SQLite and PostgreSQL alike."""
