"""The command `doctor` and what it looks at."""
