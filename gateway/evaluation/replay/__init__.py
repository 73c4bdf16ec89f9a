"""Replay: calls of the ledger, decided again by another configuration."""
