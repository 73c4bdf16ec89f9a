"""Findings about rules: rules that never match, and names that do not exist."""
