"""Findings about rules: those that can never match, and names that nothing has."""
