"""Keys in a database: its tables, and how a running gateway follows them."""
