"""Keys in a SQLite file, for the gateways of one machine."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from gateway.limits.errors import KeyStoreError
from gateway.limits.key_store.database import SqlKeyDatabase
from gateway.state.private_file import open_private

_BUSY_SECONDS = 5.0
"""The longest wait for another writer."""


class SqliteKeyDatabase(SqlKeyDatabase):
    """A SQLite file. Each use has a connection of its own. Only the first use creates the file."""

    placeholder: ClassVar = "?"
    lock_query: ClassVar = "SELECT 1"  # the transaction has locked the whole file

    def __init__(self, file: Path, *, creates: bool) -> None:
        super().__init__(creates=creates)
        self._file = file

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """Open a connection without a transaction."""
        try:
            if self._creates and not self._is_prepared and not self._file.exists():
                os.close(open_private(self._file, os.O_WRONLY))
        except OSError as error:
            raise KeyStoreError(f"the key database {self._file}: {error.strerror}") from None
        uri = f"file:{quote(str(self._file))}?mode=rw"
        try:
            with closing(
                sqlite3.connect(uri, timeout=_BUSY_SECONDS, isolation_level=None, uri=True)
            ) as connection:
                if self._creates and not self._is_prepared:
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.Error as error:
            raise KeyStoreError(f"the key database {self._file}: {error}") from None

    def exists(self) -> bool:
        """Return True if the file and its tables exist."""
        return self._file.exists() and super().exists()

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Begin a transaction for a block."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def has_tables(self, connection: sqlite3.Connection) -> bool:
        """Return True if the tables exist."""
        sql = "SELECT 1 FROM sqlite_master WHERE name = 'client_keys'"
        return connection.execute(sql).fetchone() is not None
