"""Connections and transactions, alike for a SQLite file and a PostgreSQL database.

A database has two base classes: one of the engine, in this package, and one of its own with the
tables and the queries. The queries have `?` for each value.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar


class SqlDatabase(ABC):
    """A database, except for its engine and its tables. One thread at a time uses a database."""

    place: ClassVar[str]
    """The name of the database in errors."""
    error_class: ClassVar[type[Exception]]
    """The class of all errors of the database."""
    main_table: ClassVar[str]
    """The table that exists once the others do."""
    application_name: ClassVar[str]
    """The name of its connections at a server."""
    tables_lock_id: ClassVar[int]
    """The lock at a server under which tables are made."""

    placeholder: ClassVar[str]
    """The engine's word for a value."""
    engine_error: ClassVar[type[Exception]]
    """The base class of the engine's errors."""

    def __init__(self, *, creates: bool, keeps_connection: bool) -> None:
        """`creates`: the first use makes what is missing.

        `keeps_connection`: later uses share the connection. The process must not fork then.
        """
        self._creates = creates
        self._keeps_connection = keeps_connection
        self._kept_connection: Any = None
        self._is_prepared = False

    @abstractmethod
    def transaction(self, connection: Any) -> AbstractContextManager[Any]:
        """Begin a transaction for a block."""

    @abstractmethod
    def has_tables(self, connection: Any) -> bool:
        """Return True if the tables exist."""

    @abstractmethod
    def prepare(self, connection: Any) -> None:
        """Make or change the tables if they need it. Raises `error_class`."""

    @abstractmethod
    def _connect(self) -> Any:
        """Open a connection without a transaction."""

    @abstractmethod
    def _describe_error(self, error: Any) -> str:
        """Describe an error of the engine without a password."""

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Open a connection without a transaction, or take the kept one.

        Raises `error_class` in and after the block.
        """
        try:
            connection, self._kept_connection = self._kept_connection, None
            if connection is None:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if self._keeps_connection:
                self._kept_connection = connection
            else:
                connection.close()
        except self.engine_error as error:
            raise self.error_class(self._describe_error(error)) from None

    def exists(self) -> bool:
        """Return True if the tables exist."""
        with self.connect() as connection:
            return self.has_tables(connection)

    def open(self) -> AbstractContextManager[Any]:
        """Open a connection to a database whose tables are there."""
        if not self._is_prepared:
            with self.connect() as connection:
                self.prepare(connection)
            self._is_prepared = True
        return self.connect()

    def close(self) -> None:
        """Close the kept connection, if there is one."""
        connection, self._kept_connection = self._kept_connection, None
        if connection is not None:
            connection.close()

    def adapt(self, sql: str) -> str:
        """Return a query in the engine's form."""
        return sql.replace("?", self.placeholder)
