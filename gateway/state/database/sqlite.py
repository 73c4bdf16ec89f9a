"""A SQLite file, which all processes of one machine use at once."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from gateway.state.database.base import SqlDatabase
from gateway.state.private_file import open_private

_BUSY_SECONDS = 5.0
"""The longest wait for another writer."""


class SqliteDatabase(SqlDatabase):
    """A SQLite file. Only the first use creates it. What is committed survives a power cut."""

    placeholder: ClassVar = "?"
    engine_error: ClassVar = sqlite3.Error

    def __init__(self, file: Path, *, creates: bool, keeps_connection: bool = False) -> None:
        super().__init__(creates=creates, keeps_connection=keeps_connection)
        self._file = file

    def exists(self) -> bool:
        """Return True if the file and its tables exist."""
        return self._file.exists() and super().exists()

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Begin a transaction for a block, which no other writer runs beside."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def has_tables(self, connection: sqlite3.Connection) -> bool:
        """Return True if the tables exist."""
        sql = "SELECT 1 FROM sqlite_master WHERE name = ?"
        return connection.execute(sql, [self.main_table]).fetchone() is not None

    def _connect(self) -> sqlite3.Connection:
        is_first_use = self._creates and not self._is_prepared
        try:
            if is_first_use and not self._file.exists():
                os.close(open_private(self._file, os.O_WRONLY))
        except OSError as error:
            raise self.error_class(f"{self.place} {self._file}: {error.strerror}") from None
        uri = f"file:{quote(str(self._file))}?mode=rw"
        connection = sqlite3.connect(uri, timeout=_BUSY_SECONDS, isolation_level=None, uri=True)
        try:
            if is_first_use:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _describe_error(self, error: Any) -> str:
        return f"{self.place} {self._file}: {error}"
