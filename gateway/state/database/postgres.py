"""A PostgreSQL database, which the gateways of many machines use. Needs the extra `postgres`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg

from gateway.state import postgres_url
from gateway.state.database.base import SqlDatabase

_CONNECTION_OPTIONS = {
    "connect_timeout": 5,  # seconds
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,  # seconds: notice a machine that is gone
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = '10s'"

type _Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresDatabase(SqlDatabase):
    """A PostgreSQL database. Its tables are where the connection's search path points."""

    placeholder: ClassVar = "%s"
    engine_error: ClassVar = psycopg.Error

    def __init__(self, url: str, *, creates: bool, keeps_connection: bool) -> None:
        super().__init__(creates=creates, keeps_connection=keeps_connection)
        try:
            url_options = postgres_url.parse(url)
        except ValueError as error:
            raise self.error_class(f"the URL of {self.place} {error}") from None
        self._options: dict[str, Any] = {
            **_CONNECTION_OPTIONS, "application_name": self.application_name, **url_options,
        }  # fmt: skip

    @contextmanager
    def transaction(self, connection: _Connection) -> Iterator[None]:
        """Begin a transaction for a block. No statement waits long for another writer."""
        with connection.transaction():
            connection.execute(_STATEMENT_TIMEOUT)
            if not self._is_prepared:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [self.tables_lock_id])
            yield

    def has_tables(self, connection: _Connection) -> bool:
        """Return True if the tables exist."""
        sql = "SELECT 1 FROM pg_class WHERE relname = %s AND pg_table_is_visible(oid)"
        return connection.execute(sql, [self.main_table]).fetchone() is not None

    def _connect(self) -> _Connection:
        # Poolers between transactions do not know prepared statements.
        return psycopg.connect(**self._options, autocommit=True, prepare_threshold=None)

    def _describe_error(self, error: Any) -> str:
        message = postgres_url.describe_error(error.with_traceback(None), self._options)
        return f"{self.place}: {message}"
