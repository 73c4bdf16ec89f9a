"""The store of one machine: a SQLite file. Money is kept as exact decimal text."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from itertools import chain, compress, count
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Final, cast

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.ledger import ingest, quick, sqlite_damage
from gateway.ledger.errors import StoreDamagedError, StoreError, StoreRebuildingError
from gateway.ledger.file_lock import alone
from gateway.ledger.ingest import RowBatch, RowTaker
from gateway.ledger.query import Slots, SqlDialect
from gateway.ledger.recovery import removed_until
from gateway.ledger.schema import ENTRY, KEPT, SQLITE, inserts
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite_damage import GarbledValueError, Identity
from gateway.ledger.store import Rebuild

SCHEME: Final = "sqlite:///"

# Of the WAL 8 MB stay when what is in it is in the file too: twice what usually gathers.
_WAL = "PRAGMA journal_size_limit = 8388608"

# Sums are exact: 28 digits, the default, would round a large sum of very small costs.
_EXACT = Context(prec=100)

_GONE = "it was gone"
_EMPTY = "it was empty"
_ANEW = "a gateway that starts or runs makes it anew from the journals"
_TRIES = 3  # feeds of which each but the last may find its file damaged, gone or half made
_NAMED = 3  # tables of those that are missing that are told
_ZERO = Decimal(0)
_NONE = [None] * 6
_CHUNK = 1000  # rows that are added up at a time

_COMPARED = "baseline IS NOT NULL"
_AMONG = "(SELECT value FROM json_each(?))"
_LISTS = frozenset({"tags", "dropped"})
_MAPS = frozenset({"cache_write_by", "tools", "media"})
_MONEY = frozenset({"cost", "wasted", "estimate", "billed", "reserved", "baseline", "switch_cost"})


class SqliteStore(SqlStore):
    """A SQLite file in WAL mode: any number of processes read while one feeds.

    `url` is sqlite:///relative/path or sqlite:////absolute/path; the file is made where there is
    none. Every operation has its own connection, so a store may be used from any thread; but feeds
    that follow each other have one after `keep`. To close the last one is dear: all of the WAL
    is brought into the file and to the disk first. Raises StoreError.
    """

    words: ClassVar = SqlDialect(
        mark="?",
        many=lambda texts: jsonio.dumps(texts).decode(),
        among=f"{{}} IN {_AMONG}",
        tagged=f"EXISTS (SELECT 1 FROM json_each(c.tags) WHERE value IN {_AMONG})",  # noqa: S608
        tags="LEFT JOIN json_each(c.tags) AS tag",
    )
    taking: ClassVar = RowTaker(quick.values, quick.own, ingest.entry)
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
        mended: Callable[[Rebuild], object] | None = None,
    ) -> None:
        """`mended` is told of a damaged file that this store sets aside, see `open_store`."""
        super().__init__(clock, sleep, own)
        path = url.removeprefix(SCHEME)
        if path in {url, "", ":memory:"}:
            raise StoreError(f"the ledger's store is written {SCHEME}PATH")
        self.path = Path(path)
        self._mended = mended
        self._kept: tuple[sqlite3.Connection, Identity | None] | None = None
        """The connection of the last feed, while none runs, and which file it is of."""
        self._lock = Lock()
        self._seen: object = None
        """The file that was there when another process was last seen to feed it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite_damage.identity(self.path)
        try:
            self._prepare()
        except sqlite3.Error as error:
            failure = self._failure(error, file or sqlite_damage.identity(self.path))
            # A copy of the journals must not keep a gateway from starting.
            if mended is None or not isinstance(failure, StoreRebuildingError | StoreDamagedError):
                raise failure from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write; what it is asked is of one moment.

        Raises StoreRebuildingError while not all rows are there.
        """
        with self.writing() as base:
            base.execute("PRAGMA query_only = ON")
            # Any: the stub of sqlite3 knows aggregates of one argument that return a number.
            base.create_aggregate("usd", 6, cast("Any", _Sums))
            base.execute("BEGIN")
            if _is_rebuilding(base):
                self._known.clear()  # it may have taken the old one's place in the same file
                (rows,) = base.execute("SELECT seq FROM ledger").fetchone()
                raise _rebuilding(f"{rows:,} rows so far")
            yield base

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction."""
        file = sqlite_damage.identity(self.path)
        try:
            with closing(sqlite_damage.connect(self.path)) as base:
                base.execute("PRAGMA synchronous = NORMAL")
                yield base
        except sqlite3.Error as error:
            raise self._failure(error, file) from error

    @contextmanager
    def feeding(self) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction: where they are kept, that of the feed before."""
        if not self._keeps:
            with self.writing() as base:
                yield base
            return
        file = sqlite_damage.identity(self.path)
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
            raise self._failure(error, file) from error

    def feed(self, folder: Path) -> int | None:
        """Read what the journals of a folder have got since, see `Store.feed`.

        A file that is found damaged is set aside, and the new one is fed at once.
        """
        changed = self._feed_anew(folder)
        file = self.which()
        if changed is None and (self._fed.rebuilding or file != self._seen):
            with self.writing() as base:
                self._mark(rebuilding=_is_rebuilding(base))
            self._seen = file
        return changed

    def _feed_anew(self, folder: Path, tries: int = _TRIES) -> int | None:
        try:
            return super().feed(folder)
        except StoreRebuildingError:
            if tries == 1:
                raise
            return self._feed_anew(folder, tries - 1)

    def which(self) -> object:
        """Which file the path is of."""
        return sqlite_damage.identity(self.path)

    def completed(self, base: sqlite3.Connection, folder: Path, at: float) -> None:
        """Note that a new file has all rows, and until when rows may be missing."""
        self._mark(rebuilding=False)
        found = base.execute("SELECT reason, aside FROM rebuilds WHERE done IS NULL").fetchall()
        if not found:
            return
        until = removed_until(folder)
        with self.changing(base):
            sql = "UPDATE rebuilds SET done = ?, missing_until = ? WHERE done IS NULL"
            base.execute(sql, (at, until))
        for reason, aside in found:
            # The first file of a ledger takes no other's place.
            if self._mended is not None and (reason or until is not None):
                self._mended(Rebuild(reason, aside, done=True, missing_until=until))

    def missing_until(self) -> float | None:
        """A moment before which rows may be missing, see `Store.missing_until`."""
        with self.reading() as base:
            (found,) = base.execute("SELECT max(missing_until) FROM rebuilds").fetchone()
            until: float | None = found
        return until

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

    def put(self, base: sqlite3.Connection, batch: RowBatch) -> int:
        """Store rows; returns how many that changed."""
        changed = 0
        seq = _reserve(base, len(batch.entries) + len(batch.reprices))
        if batch.entries:
            self.rest()
            changed += _put(base, batch.entries, seq, self.rest)
            self.rest()
        if batch.attempts:
            rows = [ingest.attempt(row) for row in batch.attempts]
            changed += base.executemany(_INSERT_ATTEMPT, rows).rowcount
        for n, reprice in enumerate(batch.reprices, seq + len(batch.entries)):
            if base.execute(_INSERT_REPRICE, ingest.reprice(reprice)).rowcount:
                changed += 1
                base.execute("UPDATE entries SET seq = ? WHERE id = ?", (n, reprice.id))
        if batch.feedback:
            rows = [ingest.feedback(row) for row in batch.feedback]
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
        try:
            return _value(name, value)
        except (ArithmeticError, ValueError, AttributeError) as error:
            raise GarbledValueError(
                f"the column {name} holds what nobody can have written"
            ) from error

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

    def _open(self) -> tuple[sqlite3.Connection, Identity | None]:
        """A connection for feeds of any thread, one after the other, and which file it is of."""
        # Before: where it is another file by then, the next feed sees that.
        file = sqlite_damage.identity(self.path)
        return sqlite_damage.connect(self.path, shared=True), file

    def _take(self) -> tuple[sqlite3.Connection, Identity | None] | None:
        """The connection that was kept, unless the path is of another file by now."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None or kept[1] == sqlite_damage.identity(self.path):
            return kept
        kept[0].close()
        return None

    def _give(self, base: sqlite3.Connection, file: Identity | None) -> None:
        with self._lock:
            if self._keeps and self._kept is None:
                self._kept = base, file
                return
        base.close()

    def _prepare(self, reason: str = "", aside: str | None = None) -> bool:
        """Make the file where there is none, and bring it up to date; True if it was made.

        `reason`: what was wrong with the file before, of which `aside` is the name now.
        """
        # To turn WAL on is refused at once while anybody looks, whatever the patience.
        with alone(sqlite_damage.lock(self.path)):
            return self._make(reason, aside)

    def _make(self, reason: str, aside: str | None) -> bool:
        """Do what `_prepare` says, for a caller that holds the lock."""
        made = sqlite_damage.make(self.path)
        with closing(sqlite_damage.connect(self.path)) as base:
            self._migrate(base, reason if made else _EMPTY, aside)
        return made

    def _failure(self, error: sqlite3.Error, file: Identity | None) -> StoreError:
        """What is raised in place of an error of SQLite's about a file.

        A damaged file is set aside, and one that is gone is made anew, where this store mends:
        then it is a StoreRebuildingError.
        """
        text = f"{self.path}: {error}"
        try:
            if self._mended is not None and self._is_replaced(error, file):
                return _rebuilding("its file was gone")
            if sqlite_damage.is_damage(error, self.path):
                return self._set_aside(str(error), file)
            if self._mended is not None and sqlite_damage.lacks_something(error):
                return _rebuilding("its file was gone")  # and another process has made it meanwhile
        except StoreDamagedError as damaged:
            return damaged
        except (OSError, sqlite3.Error) as failed:
            return StoreError(f"{text}; it cannot be made anew: {failed}")
        if sqlite_damage.identity(self.path) is None:
            text += f"; {_ANEW}"
        elif sqlite_damage.is_barred(error):
            text += f"; the user with the id {os.geteuid()} must be able to read and write it"
        return StoreError(text)

    def _is_replaced(self, error: sqlite3.Error, file: Identity | None) -> bool:
        """True if the path is of another file by now, or if this fills one that was gone."""
        there = sqlite_damage.identity(self.path)
        if there is None:
            if self._prepare(_GONE):
                self._told(Rebuild(_GONE, None))
            return True
        if there != file:
            return True
        if sqlite_damage.lacks_something(error) and sqlite_damage.is_blank(self.path):
            self._prepare()
            self._told(Rebuild(_EMPTY, None))
            return True
        return False

    def _set_aside(self, why: str, file: Identity | None) -> StoreError:
        if self._mended is None:
            return StoreDamagedError(f"{self.path}: {why}; move it away: {_ANEW}")
        with alone(
            sqlite_damage.lock(self.path)
        ):  # else one that starts meanwhile makes a first file
            aside = sqlite_damage.set_aside(self.path, file, self._clock())
            self._make(why, None if aside is None else aside.name)
        if aside is not None:  # else another process was first, or has taken the file away
            self._told(Rebuild(why, aside.name))
        return _rebuilding("its file was damaged")

    def _told(self, rebuild: Rebuild) -> None:
        self._mark(rebuilding=True)
        self._known.clear()
        if self._mended is not None:
            self._mended(rebuild)

    def _mark(self, *, rebuilding: bool) -> None:
        self._fed = msgspec.structs.replace(self._fed, rebuilding=rebuilding)

    def _migrate(self, base: sqlite3.Connection, reason: str, aside: str | None) -> None:
        """Bring a file up to date. Raises GarbledValueError where it lacks what its version has.

        `reason` and `aside`: see `_prepare`, for a file in which nothing is.
        """
        version, lacking = _version(base), sqlite_damage.lacks(base)
        if sqlite_damage.is_foreign(base):
            raise StoreError(f"{self.path} is a database of another program")
        if version == len(SQLITE):
            if lacking:
                raise GarbledValueError(f"it lacks {', '.join(lacking[:_NAMED])}")
            return
        if version == 0 and base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise GarbledValueError("it has tables, and no version")
        base.execute("PRAGMA journal_mode = WAL")
        with self.changing(base):
            if version > len(SQLITE):
                raise StoreError(f"{self.path} was made by a newer version (schema {version})")
            for statements in SQLITE[version:]:
                for statement in statements:
                    base.execute(statement)
            base.execute(f"PRAGMA user_version = {len(SQLITE)}")
            if version == 0:  # in this transaction: whoever reads it must see that rows are missing
                sql = "INSERT INTO rebuilds (at, reason, aside) VALUES (?, ?, ?)"
                base.execute(sql, (self._clock(), reason, aside))


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


def _value(name: str, value: Any) -> Any:
    if name in _MONEY:
        return Decimal(value)
    if name in _LISTS:
        return tuple(jsonio.loads(value.encode()))
    if name in _MAPS:
        return jsonio.loads(value.encode())
    if name == "basis":
        return _basis(value.encode())
    return bool(value) if name == "stream" else value


def _is_rebuilding(base: sqlite3.Connection) -> bool:
    """True if not all that the journals have is in it yet, since it took another's place."""
    sql = "SELECT EXISTS (SELECT 1 FROM rebuilds WHERE done IS NULL AND reason <> '')"
    return bool(base.execute(sql).fetchone()[0])


def _rebuilding(why: str) -> StoreRebuildingError:
    return StoreRebuildingError(
        f"its store is being made anew from the journals ({why}); ask again in a while"
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

_basis = jsonio.reader(DecisionRecord)
