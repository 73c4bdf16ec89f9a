"""Empty databases of owned objects of each kind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.state.object_owners import open_object_database
from gateway.state.object_store.database import ObjectDatabase
from tests.ledger.postgres import PostgresServer

type Open = Callable[[], ObjectDatabase]


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a ledger's store, beside which an empty database may be made."""
    if request.param == "sqlite":
        return "sqlite:///ledger.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.make_schema()


@pytest.fixture
def opened(store_url: str, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens the same database again, as another process does."""
    databases: list[ObjectDatabase] = []

    def open_again() -> ObjectDatabase:
        databases.append(open_object_database(store_url, tmp_path / "data"))
        return databases[-1]

    yield open_again
    for database in databases:
        database.close()
