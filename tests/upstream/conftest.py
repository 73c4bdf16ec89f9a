"""Fixtures: a scripted provider that runs in its own loop and thread."""

from tests.contract.conftest import certificates
from tests.e2e.conftest import loop, make, upstream

__all__ = ["certificates", "loop", "make", "upstream"]
