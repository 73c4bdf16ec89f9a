"""Rows of clients that leave, are slow, or send what is no request."""
