"""Stored answers: which requests may share one, and how the gateway sends it again."""

from gateway.cache.cached_response import CachedResponse, render_answer
from gateway.cache.response_cache import ResponseStore

__all__ = ["CachedResponse", "ResponseStore", "render_answer"]
