"""Requests with every member that a dialect knows, and what becomes of each of them in translation."""
