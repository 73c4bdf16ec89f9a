"""Agents' conversations against a provider with a prompt cache: what a gateway between them costs."""
