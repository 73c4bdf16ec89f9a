"""Fixtures that security tests share with the end-to-end tests."""

import pytest

from tests.e2e.conftest import loop, make, upstream
from tests.e2e.upstream import Upstream
from tests.e2e.world import Make
from tests.security.shared_account import Site, make_site

__all__ = ["loop", "make", "upstream"]


@pytest.fixture
def site(make: Make, upstream: Upstream) -> Site:
    """A gateway before one account that two keys share."""
    return make_site(make, upstream)
