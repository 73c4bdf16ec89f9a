"""Owned objects in a SQLite file, for the gateways of one machine."""

from gateway.state.database.sqlite import SqliteDatabase
from gateway.state.object_store.database import ObjectDatabase


class SqliteObjectDatabase(SqliteDatabase, ObjectDatabase):
    """A SQLite file."""
