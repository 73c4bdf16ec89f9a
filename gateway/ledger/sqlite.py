"""The store of one machine: a SQLite file. Money is kept as exact decimal text."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from itertools import chain, compress, count
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Final, cast

from gateway.core import jsonio
from gateway.core.basis import Basis
from gateway.ledger import columns, quick
from gateway.ledger.base import Base
from gateway.ledger.feed import Batch, Taking
from gateway.ledger.lock import MODE, alone
from gateway.ledger.query import Slots, Words
from gateway.ledger.schema import ENTRY, KEPT, SQLITE, inserts
from gateway.ledger.store import StoreError

SCHEME: Final = "sqlite:///"

_PATIENCE = 10.0  # seconds to wait for another process that writes
# Of the WAL 8 MB stay when what is in it is in the file too: twice what usually gathers.
_WAL = "PRAGMA journal_size_limit = 8388608"

# Sums are exact: 28 digits, the default, would round a large sum of very small costs.
_EXACT = Context(prec=100)

_ZERO = Decimal(0)
_NONE = [None] * 6
_CHUNK = 1000  # rows that are added up at a time

_COMPARED = "baseline IS NOT NULL"
_AMONG = "(SELECT value FROM json_each(?))"
_LISTS = frozenset({"tags", "dropped"})
_MAPS = frozenset({"cache_write_by", "tools", "media"})
_MONEY = frozenset({"cost", "wasted", "estimate", "billed", "reserved", "baseline", "switch_cost"})


class Sqlite(Base):
    """A SQLite file in WAL mode: any number of processes read while one feeds.

    `url` is sqlite:///relative/path or sqlite:////absolute/path; the file is made where there is
    none. Every operation has its own connection, so a store may be used from any thread; but feeds
    that follow each other have one after `keep`. To close the last one is dear: all of the WAL
    is brought into the file and to the disk first. Raises StoreError.
    """

    words: ClassVar = Words(
        mark="?",
        many=lambda texts: jsonio.dumps(texts).decode(),
        among=f"{{}} IN {_AMONG}",
        tagged=f"EXISTS (SELECT 1 FROM json_each(c.tags) WHERE value IN {_AMONG})",  # noqa: S608
        tags="LEFT JOIN json_each(c.tags) AS tag",
    )
    taking: ClassVar = Taking(quick.values, quick.own, columns.entry)
    # One call a row for all of them: calls into Python are what such a query costs. The first two
    # are the cost of what can be compared with the baseline, and of the rest.
    money: ClassVar = f"""usd(
        CASE WHEN {_COMPARED} THEN cost END, CASE WHEN NOT {_COMPARED} THEN cost END,
        wasted, estimate, CASE WHEN cost IS NOT NULL THEN baseline END, reserved
    )"""

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        sleep: Callable[[float], None] = time.sleep,
        own: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(clock, sleep, own)
        path = url.removeprefix(SCHEME)
        if path in {url, "", ":memory:"}:
            raise StoreError(f"the ledger's store is written {SCHEME}PATH")
        self.path = Path(path)
        self._kept: tuple[sqlite3.Connection, tuple[int, int] | None] | None = None
        """The connection of the last feed, while none runs, and which file it is of."""
        self._lock = Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Made here for its mode, which SQLite gives to the files beside it; never opened here
        # where it exists, since to close it would drop the locks SQLite has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))
        # To turn WAL on is refused at once while anybody looks, whatever the patience.
        with alone(self.path.with_name(f"{self.path.name}.lock")), self.writing() as base:
            self._migrate(base)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write; what it is asked is of one moment."""
        with self.writing() as base:
            base.execute("PRAGMA query_only = ON")
            # Any: the stub of sqlite3 knows aggregates of one argument that return a number.
            base.create_aggregate("usd", 6, cast("Any", _Sums))
            base.execute("BEGIN")
            yield base

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction."""
        try:
            # No implicit transactions: they are written out where they are meant.
            base = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            with closing(base):
                base.execute("PRAGMA synchronous = NORMAL")
                yield base
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    @contextmanager
    def feeding(self) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction: where they are kept, that of the feed before."""
        if not self._keeps:
            with self.writing() as base:
                yield base
            return
        try:
            base, file = self._take() or self._open()
            try:
                base.execute("PRAGMA synchronous = NORMAL")
                base.execute(_WAL)
                yield base
            except BaseException:
                base.close()  # whatever it was in the middle of is rolled back
                raise
            self._give(base, file)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the connection that is kept; one that feeds goes when it has."""
        with self._lock:
            self._keeps = False
            kept, self._kept = self._kept, None
        if kept is not None:
            kept[0].close()

    @contextmanager
    def changing(self, base: sqlite3.Connection) -> Iterator[None]:
        """A transaction."""
        base.execute("BEGIN IMMEDIATE")
        yield  # what fails is rolled back when the connection is closed
        base.execute("COMMIT")

    def put(self, base: sqlite3.Connection, batch: Batch) -> int:
        """Store rows; returns how many that changed."""
        changed = 0
        seq = _reserve(base, len(batch.entries) + len(batch.reprices))
        if batch.entries:
            self.rest()
            changed += _put(base, batch.entries, seq, self.rest)
            self.rest()
        if batch.attempts:
            rows = [columns.attempt(row) for row in batch.attempts]
            changed += base.executemany(_INSERT_ATTEMPT, rows).rowcount
        for n, reprice in enumerate(batch.reprices, seq + len(batch.entries)):
            if base.execute(_INSERT_REPRICE, columns.reprice(reprice)).rowcount:
                changed += 1
                base.execute("UPDATE entries SET seq = ? WHERE id = ?", (n, reprice.id))
        if batch.feedback:
            rows = [columns.feedback(row) for row in batch.feedback]
            changed += base.executemany(_INSERT_FEEDBACK, rows).rowcount
        return changed

    def by_slot(self, base: sqlite3.Connection, slots: Slots) -> tuple[str, list[object]]:
        """An expression for the place of `at` among them, and its values."""
        gaps = {b - a for a, b in zip(slots.starts, slots.starts[1:], strict=False)}
        if len(gaps) == 1:  # without a call into Python for each row, which calls would wait for
            place = "min(CAST((c.at - ?) / ? AS INTEGER) + 1, ?)"
            return place, [slots.starts[0], gaps.pop(), len(slots.starts)]
        base.create_function("place", 1, slots.place, deterministic=True)
        return "place(c.at)", []

    def value(self, name: str, value: Any) -> Any:
        """What a column held, as the field of a row."""
        if value is None:
            return None
        if name in _MONEY:
            return Decimal(value)
        if name in _LISTS:
            return tuple(jsonio.loads(value.encode()))
        if name in _MAPS:
            return jsonio.loads(value.encode())
        if name == "basis":
            return _basis(value.encode())
        return bool(value) if name == "stream" else value

    def sums(self, row: Sequence[Any]) -> Sequence[Any]:
        """A row of `costs` with the six of query.MONEY at its end."""
        *rest, texts = row
        sums = [Decimal(text) if text else None for text in texts.split(" ")] if texts else _NONE
        compared, other, wasted, estimate, baseline, reserved = sums
        cost, saved = other, None
        if compared is not None:
            cost = _EXACT.add(compared, other or _ZERO)
            saved = _EXACT.subtract(baseline or _ZERO, compared)
        return [*rest, cost, wasted, estimate, baseline, saved, reserved]

    def _open(self) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        """A connection for feeds of any thread, one after the other, and which file it is of."""
        file = self._file()  # before: where it is another one by then, the next feed sees that
        base = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        return base, file

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int] | None] | None:
        """The connection that was kept, unless the path is of another file by now."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None or kept[1] == self._file():
            return kept
        kept[0].close()
        return None

    def _give(self, base: sqlite3.Connection, file: tuple[int, int] | None) -> None:
        with self._lock:
            if self._keeps and self._kept is None:
                self._kept = base, file
                return
        base.close()

    def _file(self) -> tuple[int, int] | None:
        """Which file the path is of; None where there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _migrate(self, base: sqlite3.Connection) -> None:
        if _version(base) == len(SQLITE):
            return
        base.execute("PRAGMA journal_mode = WAL")
        with self.changing(base):
            version = _version(base)  # again: another process may have been first
            if version > len(SQLITE):
                raise StoreError(f"{self.path} was made by a newer version (schema {version})")
            for statements in SQLITE[version:]:
                for statement in statements:
                    base.execute(statement)
            base.execute(f"PRAGMA user_version = {len(SQLITE)}")


class _Sums:
    """The SQL aggregate `usd`: exact sums of each of its arguments, decimal texts.

    Text: the sums one after the other, nothing for one that had no value.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[str | None, ...]] = []
        self._totals: list[Decimal | None] = []

    def step(self, *row: str | None) -> None:
        self._rows.append(row)
        if len(self._rows) == _CHUNK:
            self._add()

    def finalize(self) -> str:
        self._add()
        return " ".join("" if total is None else format(total, "f") for total in self._totals)

    def _add(self) -> None:
        if not self._rows:  # all of them were added already
            return
        # Here, many at a time: one by one in `step` takes three times as long.
        with localcontext(_EXACT):
            columns = [
                [*map(Decimal, filter(None, column))] for column in zip(*self._rows, strict=True)
            ]
            old = self._totals or [None] * len(columns)
            self._totals = [
                sum(values, total or _ZERO) if values else total
                for total, values in zip(old, columns, strict=False)
            ]
        self._rows.clear()


def _put(
    base: sqlite3.Connection, entries: list[list[object]], seq: int, rest: Callable[[], object]
) -> int:
    """Store entries with their numbers, resting in between; returns how many that changed.

    Most of what a row takes is handing its values over one by one, and most of these are the same
    in all rows of a busy moment: such a column is handed over once for many.
    """
    changed, count = 0, len(entries)
    whole = count - count % _TOGETHER
    if whole:
        rows = entries[:whole]
        columns = [*zip(*rows, strict=True), range(seq, seq + whole)]
        same = tuple([one[0] == one[-1] and one.count(one[0]) == whole for one in columns])
        common = [one[0] for one in compress(columns, same)]
        own = [one for one, shared in zip(columns, same, strict=True) if not shared]
        values = [*chain.from_iterable(zip(*own, strict=True))]
        sql, width = _alike(same, _TOGETHER), len(own) * _TOGETHER
        for at in range(0, len(values), width):
            rest()
            changed += base.execute(sql, common + values[at : at + width]).rowcount
    if whole < count:
        rows = [[*row, n] for n, row in enumerate(entries[whole:], seq + whole)]
        changed += base.executemany(_INSERT_ENTRY, rows).rowcount
    return changed


@lru_cache(64)
def _alike(same: tuple[bool, ...], rows: int) -> str:
    """As the first of `inserts`, for so many entries of which some columns are the same in all.

    It takes the values of these first, then those of the others row by row.
    """
    columns, names = (*ENTRY, "seq"), (f"column{n}" for n in count(1))
    cells = ", ".join("?" if one else next(names) for one in same)
    row = f"({', '.join('?' * (len(same) - sum(same)))})"
    marks = ", ".join([row] * rows)
    return (
        f"INSERT INTO entries ({', '.join(columns)}) SELECT {cells}"  # noqa: S608
        f" FROM (VALUES {marks}) WHERE true ON CONFLICT {KEPT}"
    )


def _version(base: sqlite3.Connection) -> int:
    version: int = base.execute("PRAGMA user_version").fetchone()[0]
    return version


def _reserve(base: sqlite3.Connection, count: int) -> int:
    """The first of some numbers in the order in which rows come in."""
    if not count:
        return 0
    sql = "UPDATE ledger SET seq = seq + ? RETURNING seq"
    last: int = base.execute(sql, (count,)).fetchone()[0]
    return last - count + 1


_INSERT_ENTRY, _INSERT_ATTEMPT, _INSERT_REPRICE, _INSERT_FEEDBACK = inserts("?")

# Each statement that runs lets go of the interpreter and has to get it back from the thread that
# serves: one for many rows does so once.
_TOGETHER = 64

_basis = jsonio.reader(Basis)
