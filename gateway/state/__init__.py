"""State beyond one call: a small protocol, with stores in memory and in Redis."""

from gateway.state.base import StateStore

__all__ = ["StateStore"]
