"""Who may call: client keys."""
