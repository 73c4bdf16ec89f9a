"""The sink of ClickHouse: rows of many gateways in one database, each once, whatever comes twice.

An insert ends once the server has written its rows. The server gathers small inserts of many
gateways itself (async_insert). A row that comes again replaces itself, see clickhouse/schema.py.
"""

import gzip
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
from clickhouse_connect.driver.client import Client

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.clickhouse.connection import (
    describe_errors,
    migrate,
    open_client,
    parse_url,
)
from gateway.ledger.clickhouse.schema import (
    MONEY_DIGITS,
    TABLE_ENTRY_COLUMNS,
    TABLES_BY_MONTH,
    UNITS_COLUMN,
)
from gateway.ledger.errors import SinkError, StoreError
from gateway.ledger.ingest import RowBatch, make_storable
from gateway.ledger.personal_part import PERSONAL_COLUMNS
from gateway.ledger.schema import (
    ATTEMPT_COLUMNS,
    DAMAGE_COLUMNS,
    FEEDBACK_COLUMNS,
    REPRICE_COLUMNS,
)
from gateway.ledger.sinks.base import BatchOrigin, JournalSink, rest

_ID_PATTERN = re.compile(r"tg-([0-9a-f]{11})")
_GZIP_LEVEL = 1
_WRITE_SECONDS, _ERASE_SECONDS = 60, 3600
"""The longest that an insert takes, and that the server takes to rewrite parts."""
_ROWS_BETWEEN_RESTS = 16
"""About half a millisecond of work, after which calls of this process may run."""
_INSERT_SETTINGS = {
    "async_insert": 1,
    "wait_for_async_insert": 1,
    "precise_float_parsing": 1,  # times stay as they are
}
_ERASE_STATEMENT = f"""
    ALTER TABLE entries UPDATE {", ".join(f"{name} = NULL" for name in PERSONAL_COLUMNS)}
    WHERE end_user = %s SETTINGS mutations_sync = 2
"""


class ClickHouseSink(JournalSink):
    """Writes rows to a ClickHouse database; any number of gateways write to one.

    It connects when it first writes, and then creates or upgrades the tables.
    """

    batch_rows: ClassVar = 8192

    def __init__(
        self,
        name: str,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(name, clock)
        with _as_sink_error():
            self._address = parse_url(url, environ)
        self._client: Client | None = None

    def check(self) -> None:
        """Check that the server takes rows, see `LedgerSink.check`."""
        with _as_sink_error(), describe_errors(self._address):
            self._connect().query("SELECT id FROM costs LIMIT 1")

    def write(self, batch: RowBatch, origin: BatchOrigin) -> None:  # noqa: ARG002 - a row's id is enough
        """Insert rows; raises SinkError."""
        with _as_sink_error(), describe_errors(self._address):
            for table, columns, rows in (
                ("entries", TABLE_ENTRY_COLUMNS, batch.entries),
                ("failures", ATTEMPT_COLUMNS, batch.attempts),
                ("reprices", REPRICE_COLUMNS, batch.reprices),
                ("verdicts", FEEDBACK_COLUMNS, batch.feedback),
                ("gaps", DAMAGE_COLUMNS, batch.damages),
            ):
                if rows:
                    self._insert(table, columns, rows)

    def erase_in_engine(self, end_user: str) -> None:
        """Erase the personal part of a user's rows, see `JournalSink.erase_in_engine`.

        The server rewrites the parts that have such rows, and answers when it is done.
        """
        with _as_sink_error(), describe_errors(self._address):
            client = open_client(self._address, _ERASE_SECONDS)
            try:
                migrate(client)
                client.command(_ERASE_STATEMENT, parameters=[end_user])
            finally:
                client.close()

    def close(self) -> None:
        """Close connections, see `LedgerSink.close`."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> Client:
        """Return the client; the first time connect it and migrate the tables."""
        if self._client is None:
            client = open_client(self._address, _WRITE_SECONDS)
            migrate(client)
            self._client = client
        return self._client

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[msgspec.Struct]) -> None:
        lines = list[bytes]()
        for index, row in enumerate(rows):
            if not index % _ROWS_BETWEEN_RESTS:
                rest()
            lines.append(jsonio.dumps(_encode_row(table, columns, row)))
        self._connect().raw_insert(
            table,
            insert_block=gzip.compress(b"\n".join(lines), _GZIP_LEVEL),
            fmt="JSONEachRow",
            settings=_INSERT_SETTINGS,
            compression="gzip",
        )


@contextmanager
def _as_sink_error() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise SinkError(str(error)) from None


def _encode_row(table: str, columns: Sequence[str], row: msgspec.Struct) -> dict[str, Any]:
    """Return a row for JSON; amounts with more digits than a column holds stand apart."""
    values, long_amounts = dict[str, Any](), dict[str, str]()
    for name in columns:
        value = make_storable(name, getattr(row, name))
        if isinstance(value, Decimal):
            text = format(value, "f")
            if _fits(value):
                value = text
            else:
                value, long_amounts[name] = None, text
        elif name == UNITS_COLUMN:
            long_units = {unit: item for unit, item in value.items() if not _fits(item)}
            long_amounts |= {f"{name} {unit}": f"{item:f}" for unit, item in long_units.items()}
            value = {unit: f"{value[unit]:f}" for unit in value if unit not in long_units}
        values[name] = value
    if long_amounts:
        values["long_amounts"] = long_amounts
    if isinstance(row, FinalRow):
        values["rank"] = int(row.state != "unknown_crash")
    if table in TABLES_BY_MONTH:
        values["month"] = _find_month(values["id"])
    return values


def _fits(amount: Decimal) -> bool:
    return amount.adjusted() < MONEY_DIGITS and -int(amount.as_tuple().exponent) <= MONEY_DIGITS


def _find_month(id: str) -> int:
    """Return the month of a call's id, as 202611: the same for all rows of the call."""
    match = _ID_PATTERN.match(id)
    if match is None:
        return 0
    moment = datetime.fromtimestamp(int(match[1], 16) / 1000, UTC)
    return moment.year * 100 + moment.month
