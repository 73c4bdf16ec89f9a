"""Keys in a PostgreSQL database, for the gateways of many machines."""

from typing import ClassVar

from gateway.limits.errors import KeyStoreError
from gateway.limits.key_store.database import SqlKeyDatabase

try:
    from gateway.state.database.postgres import PostgresDatabase
except ImportError as error:  # pragma: no cover - the extra is there where tests run
    raise KeyStoreError(
        "keys in PostgreSQL need a driver: pip install 'tiergate[postgres]'"
    ) from error


class PostgresKeyDatabase(PostgresDatabase, SqlKeyDatabase):
    """A PostgreSQL database."""

    lock_query: ClassVar = "SELECT 1 FROM client_key_store FOR UPDATE"
