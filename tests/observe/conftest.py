"""The loop that scripted providers run in."""

from tests.e2e.conftest import loop

__all__ = ["loop"]
