"""Owned objects in a PostgreSQL database, for the gateways of many machines."""

from gateway.state.errors import ObjectStoreError
from gateway.state.object_store.database import ObjectDatabase

try:
    from gateway.state.database.postgres import PostgresDatabase
except ImportError as error:  # pragma: no cover - the extra is there where tests run
    raise ObjectStoreError(
        "owned objects in PostgreSQL need a driver: pip install 'tiergate[postgres]'"
    ) from error


class PostgresObjectDatabase(PostgresDatabase, ObjectDatabase):
    """A PostgreSQL database."""
