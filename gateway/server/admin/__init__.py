"""The endpoints below /admin."""
