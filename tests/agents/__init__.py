"""Agents' conversations against a provider with a prompt cache: the cost of a gateway in between."""
