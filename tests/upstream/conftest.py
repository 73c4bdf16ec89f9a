"""Upstream is tested against a scripted provider that runs in a loop and thread of its own."""

from tests.contract.conftest import certificates
from tests.e2e.conftest import loop, make, upstream

__all__ = ["certificates", "loop", "make", "upstream"]
