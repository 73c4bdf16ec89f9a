"""Stored answers: what two requests must share to share one, and how it is told again."""

from gateway.cache.cached_response import Recording, answer
from gateway.cache.response_cache import Exact

__all__ = ["Exact", "Recording", "answer"]
