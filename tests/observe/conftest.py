"""The event loop of the scripted providers."""

from tests.e2e.conftest import loop

__all__ = ["loop"]
