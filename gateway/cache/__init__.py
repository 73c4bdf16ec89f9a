"""Stored answers: what two requests must share to share one, and how it is told again."""

from gateway.cache.cached_response import CachedResponse, render_answer
from gateway.cache.response_cache import ResponseStore

__all__ = ["CachedResponse", "ResponseStore", "render_answer"]
