"""The part of a SQL store that queries in files of their own need."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

from gateway.ledger.query import SqlDialect


class SqlReader(Protocol):
    """A store that answers queries in SQL. Its methods raise StoreError."""

    sql_dialect: ClassVar[SqlDialect]
    money_columns: ClassVar[str]
    """The columns that `decode_sums` turns into the six of query.MONEY."""

    def open_reader(self) -> AbstractContextManager[Any]:
        """Open a read-only connection in one transaction: all its queries see one moment."""
        ...

    def limit_time(
        self, connection: Any, max_seconds: float | None
    ) -> AbstractContextManager[None]:
        """Limit the time of each query of a block; None sets no limit. Raises QueryTooLongError."""
        ...

    def decode_sums(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row with the six of query.MONEY in place of `money_columns` at its end."""
        ...

    def decode_value(self, name: str, value: Any) -> Any:
        """Decode a column's value into a row's field."""
        ...
