"""Fixtures that security tests share with the end-to-end tests."""

from tests.e2e.conftest import loop

__all__ = ["loop"]
