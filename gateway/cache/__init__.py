"""Stored answers: what two requests must share to share one, and how it is told again."""

from gateway.cache.exact import Exact
from gateway.cache.recording import Recording, answer

__all__ = ["Exact", "Recording", "answer"]
