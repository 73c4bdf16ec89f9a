"""Keys in a PostgreSQL database, for the gateways of many machines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from gateway.limits.errors import KeyStoreError
from gateway.limits.key_store.database import SqlKeyDatabase

try:
    import psycopg

    from gateway.state import postgres_url
except ImportError as error:  # pragma: no cover - the extra is there where tests run
    raise KeyStoreError(
        "keys in PostgreSQL need a driver: pip install 'tiergate[postgres]'"
    ) from error

_TABLES_LOCK_ID = 0x7469_6572_6B65_7973  # "tierkeys", locked to create tables
_CONNECTION_OPTIONS = {
    "connect_timeout": 5,  # seconds
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,  # seconds: notice a machine that is gone
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "application_name": "tiergate-keys",
}
_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = '10s'"

type _Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresKeyDatabase(SqlKeyDatabase):
    """A PostgreSQL database. Its tables are where the connection's search path points."""

    placeholder: ClassVar = "%s"
    lock_query: ClassVar = "SELECT 1 FROM client_key_store FOR UPDATE"

    def __init__(self, url: str, *, creates: bool, keeps_connection: bool) -> None:
        super().__init__(creates=creates)
        try:
            url_options = postgres_url.parse(url)
        except ValueError as error:
            raise KeyStoreError(f"the URL of the key database {error}") from None
        self._options: dict[str, Any] = {**_CONNECTION_OPTIONS, **url_options}
        self._keeps_connection = keeps_connection
        self._kept_connection: _Connection | None = None

    @contextmanager
    def connect(self) -> Iterator[_Connection]:
        """Open a connection without a transaction, or take the kept one."""
        try:
            connection, self._kept_connection = self._kept_connection, None
            if connection is None:
                # Poolers between transactions do not know prepared statements.
                connection = psycopg.connect(
                    **self._options, autocommit=True, prepare_threshold=None
                )
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if self._keeps_connection:
                self._kept_connection = connection
            else:
                connection.close()
        except psycopg.Error as error:
            message = postgres_url.describe_error(error.with_traceback(None), self._options)
            raise KeyStoreError(f"the key database: {message}") from None

    @contextmanager
    def transaction(self, connection: _Connection) -> Iterator[None]:
        """Begin a transaction for a block. No statement waits long for another writer."""
        with connection.transaction():
            connection.execute(_STATEMENT_TIMEOUT)
            if not self._is_prepared:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_TABLES_LOCK_ID])
            yield

    def has_tables(self, connection: _Connection) -> bool:
        """Return True if the tables exist."""
        sql = "SELECT 1 FROM pg_class WHERE relname = 'client_keys' AND pg_table_is_visible(oid)"
        return connection.execute(sql).fetchone() is not None

    def close(self) -> None:
        """Close the kept connection, if there is one."""
        connection, self._kept_connection = self._kept_connection, None
        if connection is not None:
            connection.close()
