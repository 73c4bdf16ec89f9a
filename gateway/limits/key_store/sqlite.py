"""Keys in a SQLite file, for the gateways of one machine."""

from typing import ClassVar

from gateway.limits.key_store.database import SqlKeyDatabase
from gateway.state.database.sqlite import SqliteDatabase


class SqliteKeyDatabase(SqliteDatabase, SqlKeyDatabase):
    """A SQLite file. Each use has a connection of its own."""

    lock_query: ClassVar = "SELECT 1"  # the transaction has locked the whole file
