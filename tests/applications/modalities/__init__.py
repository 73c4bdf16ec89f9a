"""Calls with tokens of all kinds, and a provider's own bill of them, held against every interface."""
