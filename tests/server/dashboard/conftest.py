"""Fixtures: the worlds of the end-to-end tests."""

from tests.e2e.conftest import loop, make, upstream, world

__all__ = ["loop", "make", "upstream", "world"]
