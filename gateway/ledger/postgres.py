"""The store of many machines: a PostgreSQL database, fed from the journals of each."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.ledger.errors import StoreError
from gateway.ledger.ingest import RowBatch, plain
from gateway.ledger.query import Slots, SqlDialect
from gateway.ledger.schema import ATTEMPT, ENTRY, FEEDBACK, POSTGRES, REPRICE, inserts
from gateway.ledger.sql_store import SqlStore

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.types.json import Jsonb
except ImportError as error:  # pragma: no cover - the extra is there where tests run
    raise StoreError(
        "a PostgreSQL store needs a driver: pip install 'tiergate[postgres]'"
    ) from error

_FORM = "postgresql://user:password@host:5432/database, with %40 for @ and %2F for / in a password"
_LOCK = 0x7469_6572_6761_7465  # "tiergate": of those who make or change the tables
_PATIENCE = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 30_000,  # milliseconds: a server that is gone is not waited for
    "application_name": "tiergate",
}
_LISTS = frozenset({"tags", "dropped"})
_INSERT_ENTRY, _INSERT_ATTEMPT, _INSERT_REPRICE, _INSERT_FEEDBACK = inserts("%s")
_INSERT_REPRICE = f"""
    WITH new AS ({_INSERT_REPRICE} RETURNING id),
    moved AS (UPDATE entries SET seq = %s WHERE id IN (SELECT id FROM new))
    SELECT count(*) FROM new
"""  # noqa: S608 - a statement of the schema

type _Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresStore(SqlStore):
    """A PostgreSQL database; any number of machines feed it, each from its own journals.

    Its tables are where the search path of the connection points. Nothing is connected before the
    first question or feed, and nothing stays connected between them: a server that is down costs
    no more than that its store is behind. Raises StoreError.
    """

    words: ClassVar = SqlDialect(
        mark="%s",
        many=lambda texts: texts,
        among="{} = ANY(%s::text[])",
        tagged="c.tags && %s::text[]",
        tags="LEFT JOIN LATERAL unnest(c.tags) AS tag (value) ON true",
    )
    money: ClassVar = (
        "sum(cost), sum(wasted), sum(estimate), sum(baseline) FILTER (WHERE cost IS NOT NULL),"
        " sum(saved), sum(reserved)"
    )

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        sleep: Callable[[float], None] = time.sleep,
        own: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(clock, sleep, own)
        given = _read(url)
        self._options: dict[str, Any] = {**_PATIENCE, **given}
        self._secret = str(given.get("password") or "")
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[_Connection]:
        """A connection that cannot write; what it is asked is of one moment."""
        with self.writing() as base:
            base.read_only = True
            base.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with base.transaction():
                yield base

    @contextmanager
    def writing(self) -> Iterator[_Connection]:
        """A connection without a transaction."""
        try:
            with psycopg.connect(**self._options, autocommit=True) as base:
                if not self._ready:
                    self._migrate(base)
                    self._ready = True
                yield base
        except psycopg.Error as error:
            told = self._told(error.with_traceback(None))  # its frames know it, in a circle
            raise StoreError(told) from None

    @contextmanager
    def changing(self, base: _Connection) -> Iterator[None]:
        """A transaction."""
        with base.transaction():
            yield

    def put(self, base: _Connection, batch: RowBatch) -> int:
        """Store rows; returns how many that changed."""
        changed = 0
        seq = _reserve(base, len(batch.entries) + len(batch.reprices))
        with base.cursor() as cursor:
            if batch.entries:
                rows = [[*_values(ENTRY, row), seq + n] for n, row in enumerate(batch.entries)]
                cursor.executemany(_INSERT_ENTRY, rows)
                changed += cursor.rowcount
            if batch.attempts:
                rows = [_values(ATTEMPT, row) for row in batch.attempts]
                cursor.executemany(_INSERT_ATTEMPT, rows)
                changed += cursor.rowcount
            if batch.reprices:
                start = seq + len(batch.entries)
                rows = [[*_values(REPRICE, r), start + n] for n, r in enumerate(batch.reprices)]
                cursor.executemany(_INSERT_REPRICE, rows, returning=True)
                changed += sum(one.fetchone()[0] for one in cursor.results())  # type: ignore[index]  # count(*) has a row
            if batch.feedback:
                rows = [_values(FEEDBACK, row) for row in batch.feedback]
                cursor.executemany(_INSERT_FEEDBACK, rows)
                changed += cursor.rowcount
        return changed

    def by_slot(self, base: _Connection, slots: Slots) -> tuple[str, list[object]]:  # noqa: ARG002 - SQLite needs it
        """An expression for the place of `at` among them, and its values."""
        return "width_bucket(c.at, %s::float8[])", [slots.starts]

    def value(self, name: str, value: Any) -> Any:
        """What a column held, as the field of a row."""
        if name == "basis" and value is not None:
            return msgspec.convert(value, DecisionRecord)
        return tuple(value) if name in _LISTS else value

    def _migrate(self, base: _Connection) -> None:
        if _version(base) == len(POSTGRES):
            return
        with base.transaction():
            base.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            version = _version(base)  # again: another process may have been first
            if version > len(POSTGRES):
                raise StoreError(f"the store was made by a newer version (schema {version})")
            for statements in POSTGRES[version:]:
                for statement in statements:
                    base.execute(statement.encode())
            base.execute("UPDATE ledger SET version = %s", [len(POSTGRES)])

    def _told(self, error: psycopg.Error) -> str:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = f"the ledger's PostgreSQL store: {lines[0].strip()}"
        for secret in filter(None, (self._secret, unquote(self._secret))):
            text = text.replace(secret, "...")
        return text


def _read(url: str) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:  # its text may hold a part of the password
        given = {}
    # A password that is not written as it must be would be taken for a host or a port, and told.
    login = url.partition("?")[0].rpartition("@")[0]
    port = str(given.get("port") or "")
    if not given or "@" in login or "/" in login.partition("://")[2] or re.search(r"[^\d,]", port):
        raise StoreError(f"the ledger's store cannot be read: it is written {_FORM}")
    return given


def _version(base: _Connection) -> int:
    # Not to_regclass: within a transaction it may remember that there was none.
    there = base.execute(
        "SELECT true FROM pg_class WHERE relname = 'ledger' AND pg_table_is_visible(oid)"
    )
    if there.fetchone() is None:
        return 0
    found = base.execute("SELECT version FROM ledger").fetchone()
    return int(found[0]) if found else 0


def _reserve(base: _Connection, count: int) -> int:
    """The first of some numbers in the order in which rows come in.

    Others that feed wait until this transaction has ended: who follows that order sees no number
    before all that are below it, and misses nothing.
    """
    if not count:
        return 0
    sql = "UPDATE ledger SET seq = seq + %s RETURNING seq"
    found = base.execute(sql, [count]).fetchone()
    return int(found[0]) - count + 1 if found else 0


def _values(columns: Sequence[str], row: msgspec.Struct) -> list[object]:
    return [_value(plain(name, getattr(row, name))) for name in columns]


def _value(value: object) -> object:
    return Jsonb(value, dumps=jsonio.dumps) if isinstance(value, dict) else value
