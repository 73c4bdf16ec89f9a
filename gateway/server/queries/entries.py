"""Pages of calls, one row each, as JSON, JSON lines or CSV."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.ledger import export
from gateway.ledger.call_order import CallOrder, CallSearch
from gateway.ledger.query_params import LedgerQuery, is_storable
from gateway.ledger.store import LedgerStore, StoredRow
from gateway.server.queries import MAX_SECONDS

_BATCH_ROWS = 200
"""The maximum number of rows in one read: the others are kept encoded."""


class RowPage(NamedTuple):
    """A page of calls in the requested format."""

    chunks: Sequence[bytes]
    """The parts of the body."""
    cursor: str
    """The cursor from which a follower of these rows continues; empty if there is none."""
    position: str
    """The start of the next page."""
    has_more: bool
    """True if more rows may follow."""


class RowOrder(NamedTuple):
    """An order of calls, other than that in which they ended, and a text that all contain."""

    order: CallOrder
    search: CallSearch | None


def read_page(
    store: LedgerStore,
    query: LedgerQuery,
    format: str,
    order: RowOrder | None,
    position: str,
    limit: int,
) -> RowPage:
    """Read at most `limit` calls after a position, in an order, or as they ended.

    Raises ProblemError if there is no such position, and QueryTooLongError.
    """
    reader = (
        _RowReader(query, format, position)
        if order is None
        else _OrderedRowReader(query, format, position, order)
    )
    remaining = limit
    while remaining and reader.read(store, min(remaining, _BATCH_ROWS)):
        remaining -= min(remaining, _BATCH_ROWS)
    return RowPage(reader.list_chunks(), reader.cursor, reader.position, reader.has_more)


class _RowReader:
    """Rows in the requested format and in ledger order, read in batches."""

    def __init__(self, query: LedgerQuery, format: str, position: str) -> None:
        self.position = position
        """The start of the next page, a value of `page_parameter`; empty before the first page."""
        self.has_more = False
        """True if more rows may follow."""
        self._query = query
        self._format = format
        self._chunks: list[bytes] = [export.format_rows_csv(()).encode()] if format == "csv" else []

    def read(self, store: LedgerStore, limit: int) -> bool:
        """Read and encode the next rows. Return True if more may follow."""
        selection = {**self._query.selection, "zone": self._query.time_zone}
        rows = self._read_rows(store, selection, limit)
        if rows:
            self._chunks.append(self._encode_rows(rows))
        self.has_more = len(rows) == limit
        return self.has_more

    @property
    def cursor(self) -> str:
        """The cursor from which a follower of these rows continues."""
        return self.position

    def _read_rows(
        self, store: LedgerStore, selection: dict[str, Any], limit: int
    ) -> Sequence[StoredRow]:
        try:
            rows = store.read_entries(**selection, after_cursor=self.position or None, limit=limit)
        except ValueError:
            raise invalid_request(
                "This store has no such cursor. Start without a cursor.", "after"
            ) from None
        self.position = rows[-1].cursor if rows else self.position
        return rows

    def _encode_rows(self, rows: Sequence[StoredRow]) -> bytes:
        if self._format == "csv":
            return export.format_rows_csv(rows, has_header=False).encode()
        if self._format == "json":
            return b",".join(jsonio.dumps(export.build_row(row)) for row in rows)
        return export.format_rows_jsonl(rows)

    def list_chunks(self) -> list[bytes]:
        """Return the encoded rows, as the parts of a body."""
        if self._format != "json":
            return self._chunks
        separated = [
            chunk if index == 0 else b"," + chunk for index, chunk in enumerate(self._chunks)
        ]
        return [
            b'{"entries":[',
            *separated,
            b'],"cursor":',
            jsonio.dumps(self.cursor or None),
            b"}",
        ]


class _OrderedRowReader(_RowReader):
    """Rows like those of RowPage, but in an order of the caller, and of the calls with a text."""

    _cursor = ""

    def __init__(self, query: LedgerQuery, format: str, position: str, order: RowOrder) -> None:
        super().__init__(query, format, position)
        self._order = order

    @property
    def cursor(self) -> str:
        """The cursor for followers: rows that arrive from now on come after it."""
        return self._cursor

    def _read_rows(
        self, store: LedgerStore, selection: dict[str, Any], limit: int
    ) -> Sequence[StoredRow]:
        position = self.position if is_storable(self.position) else "\N{REPLACEMENT CHARACTER}"
        try:
            rows, cursor = store.read_ordered(
                **selection,
                order=self._order.order,
                search=self._order.search,
                before_id=position or None,
                limit=limit,
                max_seconds=MAX_SECONDS,
            )
        except ValueError:
            raise invalid_request("The ledger has no call of this id.", "before") from None
        self._cursor = self._cursor or cursor  # the first batch's: followers see later rows
        self.position = rows[-1].id if rows else self.position
        return rows
