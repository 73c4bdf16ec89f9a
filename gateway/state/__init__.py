"""State beyond one call: a small protocol, kept in memory or in Redis."""

from gateway.state.base import StateStore

__all__ = ["StateStore"]
