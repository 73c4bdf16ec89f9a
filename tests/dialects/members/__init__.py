"""Requests with every member that a dialect knows, and what translation makes of each member."""
