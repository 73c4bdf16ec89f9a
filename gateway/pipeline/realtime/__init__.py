"""Realtime and Live sessions: WebSockets between clients and providers, with money."""
