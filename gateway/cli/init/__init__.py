"""The command `init` and the files that it writes."""
