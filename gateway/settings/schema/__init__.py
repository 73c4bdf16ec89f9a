"""The schema of a configuration, one file for each of its parts."""
