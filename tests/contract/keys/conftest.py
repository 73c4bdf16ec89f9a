"""Empty key databases of each kind, by URL."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.limits.key_store.store import KeyDatabase, open_database
from tests.ledger.postgres import PostgresServer

type Open = Callable[..., KeyDatabase]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return "sqlite:///keys.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.make_schema()


@pytest.fixture
def opened(url: str, tmp_path: Path) -> Open:
    """Return a function that opens the same database again, as another process does."""

    def open_again(**options: bool) -> KeyDatabase:
        return open_database(url, tmp_path / "data", **options)

    return open_again
