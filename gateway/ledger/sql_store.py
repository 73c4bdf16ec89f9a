"""What both stores have in common: how they are fed, and how they are asked."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.core.ledger_rows import AttemptRow, FeedbackRow, ReplayRow
from gateway.ledger.file_lock import held
from gateway.ledger.ingest import RowBatch, RowTaker, batches, identity, sizes
from gateway.ledger.journal import segments
from gateway.ledger.query import (
    SLOT,
    SUMS,
    Days,
    Only,
    QueryGroup,
    Slots,
    SqlDialect,
    check,
    group,
    order,
    where,
)
from gateway.ledger.schema import ATTEMPT, ENTRY, FEEDBACK
from gateway.ledger.store import TRIES, WAIT, IngestState, NewestRows, StoredRow
from gateway.ledger.time_series import MEASURED, LatencyTimes, ranks, times

_REST = 0.0002
"""Seconds: for half a call that is alone."""
_WORK = 0.0004
"""Seconds of work after which a feed rests."""
_LONG = 0.001
"""Seconds of a rest after which this process, or its processor, is busy."""
_MORE = 16
"""Times as much is done there before the next: calls wait for one another anyway."""
_PAGE = 500  # rows that are held at a time while many are read
_PRUNED = 1000  # calls that are forgotten in one transaction
_ORPHANS = """
    SELECT DISTINCT id FROM {0} WHERE at < {1}
    AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.id = {0}.id)
"""
_NO_PRICE = """(
    (cost IS NULL OR baseline IS NULL) AND input IS NOT NULL AND output IS NOT NULL
    OR state = 'failed' AND cost IS NOT NULL AND baseline IS NULL
)"""


class SqlStore(ABC):
    """A store, but for the words of its database.

    `clock` tells seconds since the epoch; `sleep` waits so many seconds for another process; `own`
    tells by its name whether a segment is of this process.
    """

    words: ClassVar[SqlDialect]
    taking: ClassVar[RowTaker] = RowTaker()
    """How final rows come to `put`."""
    money: ClassVar[str]
    """The columns that become the six of query.MONEY."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        own: Callable[[str], bool],
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._own = own
        self._keeps = False
        self._work = _WORK
        """Seconds of it until the next rest."""
        self._rested = 0.0
        """The time of the thread that feeds when it last did, seconds."""
        self._fed = IngestState()
        self._known: dict[Path, tuple[object, Mapping[str, int]]] = {}
        """What of each folder the store has, and which store it was, as `which` tells it."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Any]:
        """A connection that cannot write, in one transaction: all it is asked is of one moment."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Any]:
        """A connection without a transaction."""

    def feeding(self) -> AbstractContextManager[Any]:
        """A connection without a transaction, for a feed; it may be that of the feed before."""
        return self.writing()

    @abstractmethod
    def changing(self, base: Any) -> AbstractContextManager[Any]:
        """A transaction."""

    @abstractmethod
    def put(self, base: Any, batch: RowBatch) -> int:
        """Store rows within a transaction; returns how many that changed."""

    @abstractmethod
    def by_slot(self, base: Any, slots: Slots) -> tuple[str, list[object]]:
        """An expression for the place of `at` among them, and its values."""

    @abstractmethod
    def value(self, name: str, value: Any) -> Any:
        """What a column held, as the field of a row."""

    def sums(self, row: Sequence[Any]) -> Sequence[Any]:
        """A row of `costs` with the six of query.MONEY at its end."""
        return row

    def feed(self, folder: Path) -> int | None:
        """Read what the journals of a folder have got since, see `Store.feed`."""
        began = self._clock()
        if not folder.is_dir():
            return 0
        paths = segments(folder)
        there, which = sizes(paths), self.which()
        if there and (which, there) == self._known.get(folder):
            self._tell(0, 0, began)
            return 0
        with held(folder / "feed.lock") as mine:
            if not mine:
                return None
            changed, done = self._feed(folder, paths, there, began)
        self._known[folder] = which, done
        self._tell(0, 0, began)
        return changed

    def catch_up(self, folder: Path) -> None:
        """Feed, once no other does, see `Store.catch_up`."""
        for _ in range(TRIES):
            if self.feed(folder) is not None:
                return
            self._sleep(WAIT)

    def call(self, folder: Path, id: str) -> StoredRow | None:
        """The final row of a call that may have just ended, see `Store.call`."""
        for _ in range(TRIES):
            all_there = self.feed(folder) is not None
            if rows := self.entries(only={"id": [id]}, limit=1):
                return rows[0]
            if all_there:
                break
            self._sleep(WAIT)
        return None

    def state(self) -> IngestState:
        """What this process has fed."""
        return self._fed

    def offsets(self, folder: Path) -> dict[str, int]:
        """How many bytes of each segment the store has, see `Store.offsets`."""
        if not (folder / "id").exists():
            return {}
        with self.writing() as base:  # also while questions are refused
            return self._offsets(base, identity(folder))

    def missing_until(self) -> float | None:
        """A moment before which rows may be missing, see `Store.missing_until`."""
        return None

    def which(self) -> object:
        """Which store it is: another value once an empty one has taken its place."""
        return None

    def completed(self, base: Any, folder: Path, at: float) -> None:  # noqa: B027 - few are rebuilt
        """Note that the store has all that a folder's journals had at a moment."""

    def costs(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
        slots: Slots | None = None,
    ) -> list[QueryGroup]:
        """Calls grouped, see `Store.costs`."""
        by = check(by, only, slots)
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        names = {name: "tag.value" if name == "tag" else f"c.{name}" for name in by}
        with self.reading() as base:
            place = list[object]()
            if "day" in by:
                slots = Days(zone, *self._span(base, since, until))
            if slots is not None:
                names[SLOT if SLOT in by else "day"], place = self.by_slot(base, slots)
            sql = " ".join(
                [
                    f"SELECT {', '.join([*names.values(), *SUMS, self.money])} FROM costs AS c",  # noqa: S608 - names of BY only
                    self.words.tags if "tag" in by else "",
                    f"WHERE {test}",
                    f"GROUP BY {', '.join(str(n + 1) for n in range(len(by)))}" if by else "",
                ]
            )
            rows = base.execute(sql, [*place, *values]).fetchall()
        return sorted((group(by, self.sums(row), slots) for row in rows), key=order(by))

    def times(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
        slots: Slots | None = None,
    ) -> list[LatencyTimes]:
        """How long calls took, see `Store.times`."""
        by = check(by, only, slots)
        if "day" in by:
            raise ValueError("cannot group by day: a series has slots")
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        names = {name: "tag.value" if name == "tag" else f"c.{name}" for name in by}
        found = dict[str, list[Sequence[Any]]]()
        with self.reading() as base:
            place = list[object]()
            if slots is not None:
                names[SLOT], place = self.by_slot(base, slots)
            for what in MEASURED:
                sql = ranks(names.values(), what, self.words.tags if "tag" in by else "", test)
                found[what] = base.execute(sql, [*place, *values]).fetchall()
        return times(by, found, slots)

    def entries(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> list[StoredRow]:
        """Final rows in the order in which they came in, see `Store.entries`."""
        check((), only)
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        with self.reading() as base:
            mark = self._ledger(base)[0]
            seq = 0 if after is None else _seq(after, mark)
            return self._stored(base, mark, test, values, seq, limit)

    def newest(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
        before: str | None = None,
        limit: int = 1000,
    ) -> NewestRows:
        """Final rows of the calls that were received last, see `Store.newest`."""
        check((), only)
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        columns = (*ENTRY, "repriced", "seq")
        marks = ", ".join([self.words.mark] * 2)
        with self.reading() as base:
            mark, last = self._ledger(base)
            if before is not None:
                place = f"SELECT at FROM entries WHERE id = {self.words.mark}"  # noqa: S608
                found = base.execute(place, [before]).fetchone()
                if found is None:
                    raise ValueError("there is no such call: begin without one")
                test += f" AND (c.at, c.id) < ({marks})"
                values += [found[0], before]
            rows = base.execute(
                f"SELECT {', '.join(columns)} FROM priced AS c WHERE {test}"  # noqa: S608 - of the schema
                f" ORDER BY c.at DESC, c.id DESC LIMIT {self.words.mark}",
                [*values, limit],
            ).fetchall()
            return NewestRows([self._row(mark, row) for row in rows], f"{mark}.{last}")

    def logged(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
    ) -> Iterator[ReplayRow]:
        """Rows in order of time, see `Store.logged`."""
        check((), only)
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        columns = ReplayRow.__struct_fields__
        after = ", ".join([self.words.mark] * 2)
        sql = (
            f"SELECT {', '.join(columns)} FROM priced AS c WHERE {test}"  # noqa: S608 - of the schema
            f" AND (c.at, c.id) > ({after}) ORDER BY c.at, c.id LIMIT {self.words.mark}"
        )
        at, id = -1.0, ""
        while True:
            with self.reading() as base:
                page = base.execute(sql, [*values, at, id, _PAGE]).fetchall()
                rows = [ReplayRow(**self._fields(columns, row)) for row in page]
            if not rows:
                return
            yield from rows
            at, id = rows[-1].at, rows[-1].id

    def count(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
    ) -> int:
        """How many rows there are, see `Store.count`."""
        check((), only)
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        with self.reading() as base:
            sql = f"SELECT count(*) FROM priced AS c WHERE {test}"  # noqa: S608 - as above
            found: int = base.execute(sql, values).fetchone()[0]
        return found

    def attempts(self, id: str) -> list[AttemptRow]:
        """The requests of a call that gave no answer."""
        sql = f"SELECT {', '.join(ATTEMPT)} FROM failures WHERE id = {self.words.mark}"  # noqa: S608
        with self.reading() as base:
            rows = base.execute(f"{sql} ORDER BY attempt", [id]).fetchall()
            return [AttemptRow(**self._fields(ATTEMPT, row)) for row in rows]

    def feedback(self, ids: Sequence[str]) -> dict[str, FeedbackRow]:
        """What has been said of some calls, see `Store.feedback`."""
        sql = f"SELECT {', '.join(FEEDBACK)} FROM verdicts WHERE {self.words.among.format('id')}"  # noqa: S608
        with self.reading() as base:
            rows = base.execute(sql, [self.words.many(list(ids))]).fetchall()
            found = [FeedbackRow(**self._fields(FEEDBACK, row)) for row in rows]
        return {one.id: one for one in found}

    def unpriced(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Only | None = None,
    ) -> Iterator[StoredRow]:
        """Rows without a cost or a baseline, see `Store.unpriced`."""
        check((), only)
        test, values = where(self.words, since=since, until=until, only=only, zone=zone)
        # What is priced again meanwhile comes again, behind this.
        with self.reading() as base:
            last = self._ledger(base)[1]
        test = f"{_NO_PRICE} AND seq <= {self.words.mark} AND {test}"
        seq = 0
        while True:
            with self.reading() as base:
                mark = self._ledger(base)[0]
                page = self._stored(base, mark, test, [last, *values], seq, _PAGE)
            if not page:
                return
            seq = _seq(page[-1].cursor, mark)
            yield from page

    def prune(self, before: float) -> int:
        """Forget calls received before a moment, see `Store.prune`."""
        calls = f"SELECT id FROM entries WHERE at < {self.words.mark} ORDER BY at"  # noqa: S608
        with self.writing() as base:
            count = self._forget(base, calls, before)
            for table in ("failures", "reprices", "verdicts"):  # of calls that are not here
                self._forget(base, _ORPHANS.format(table, self.words.mark), before)
        return count

    def rest(self) -> None:
        """Let calls go on for a moment, where this process serves any.

        A feed lets go of the interpreter often enough, and calls that want it are told; but on the
        processor that it has, too, it would be back first, for as long as it may run there.
        """
        if self._keeps and not 0 <= time.thread_time() - self._rested < self._work:
            began = time.perf_counter()
            self._sleep(_REST)
            self._work = _WORK if time.perf_counter() - began < _LONG else _MORE * _WORK
            self._rested = time.thread_time()

    def keep(self) -> None:
        """Feeds will follow each other, see `Store.keep`."""
        self._keeps = True

    def close(self) -> None:  # noqa: B027 - a store need not have what can be kept
        """Let go of connections; none outlives what it was opened for where none is kept."""

    def _feed(
        self, folder: Path, paths: list[Path], there: Mapping[str, int], began: float
    ) -> tuple[int, Mapping[str, int]]:
        """Read segments on; return how many rows changed, and how much of each the store has."""
        mark = identity(folder)
        changed = 0
        with self.feeding() as base:
            self._adopt(base, mark, list(there))
            done = self._offsets(base, mark)
            for path in paths:
                size, offset = there.get(path.name, 0), done.get(path.name, 0)
                if size == offset:
                    continue
                # A file shorter than what was read of it is another file.
                taking = self.taking
                if self._own(path.name):
                    taking = taking._replace(quick=taking.own)
                begin = offset if offset < size else 0
                for batch in batches(path, begin, taking, self.rest):
                    with self.changing(base):
                        rows = self.put(base, batch)
                        self._note(base, mark, path.name, batch)
                    done[path.name] = batch.end
                    changed += rows
                    self._tell(rows, batch.skipped, self._fed.at)
            self.completed(base, folder, began)
        return changed, {name: done.get(name, 0) for name in there}

    def _forget(self, base: Any, sql: str, before: float) -> int:
        """Delete all of the calls that a query names, a bounded number in one transaction."""
        test = self.words.among.format("id")
        count = 0
        while True:
            with self.changing(base):
                found = base.execute(f"{sql} LIMIT {_PRUNED}", [before]).fetchall()
                ids = self.words.many([row[0] for row in found])
                for table in ("failures", "reprices", "verdicts", "entries"):
                    base.execute(f"DELETE FROM {table} WHERE {test}", [ids])  # noqa: S608
            count += len(found)
            if len(found) < _PRUNED:
                return count

    def _tell(self, rows: int, skipped: int, at: float | None) -> None:
        fed = self._fed
        self._fed = msgspec.structs.replace(
            fed, rows=fed.rows + rows, skipped=fed.skipped + skipped, at=at
        )

    def _adopt(self, base: Any, mark: str, names: list[str]) -> None:
        """Segments that are gone are forgotten; those of the first schema had no folder."""
        test, many = self.words.among.format("name"), self.words.many(names)
        with self.changing(base):
            for sql in (
                f"UPDATE segments SET folder = {self.words.mark} WHERE folder = '' AND {test}",  # noqa: S608
                f"DELETE FROM segments WHERE folder = {self.words.mark} AND NOT {test}",  # noqa: S608
            ):
                base.execute(sql, [mark, many])

    def _note(self, base: Any, mark: str, name: str, batch: RowBatch) -> None:
        marks = ", ".join([self.words.mark] * 4)
        base.execute(
            f"INSERT INTO segments VALUES ({marks}) ON CONFLICT (folder, name) DO UPDATE"  # noqa: S608
            " SET bytes = excluded.bytes, skipped = segments.skipped + excluded.skipped",
            [mark, name, batch.end, batch.skipped],
        )

    def _offsets(self, base: Any, mark: str) -> dict[str, int]:
        sql = f"SELECT name, bytes FROM segments WHERE folder = {self.words.mark}"  # noqa: S608
        return dict(base.execute(sql, [mark]).fetchall())

    def _ledger(self, base: Any) -> tuple[str, int]:
        """The store's own name, and the number of the last row that came in."""
        found: tuple[str, int] = base.execute("SELECT id, seq FROM ledger").fetchone()
        return found

    def _span(self, base: Any, since: float | None, until: float | None) -> tuple[float, float]:
        test, values = where(self.words, since=since, until=until, only=None)
        ends = [
            base.execute(
                f"SELECT at FROM entries AS c WHERE {test} ORDER BY at {way} LIMIT 1",  # noqa: S608
                values,
            ).fetchone()
            for way in ("ASC", "DESC")
        ]
        return (ends[0][0], ends[1][0]) if ends[0] and ends[1] else (0.0, 0.0)

    def _stored(
        self, base: Any, mark: str, test: str, values: list[object], seq: int, limit: int
    ) -> list[StoredRow]:
        columns = (*ENTRY, "repriced", "seq")
        rows = base.execute(
            f"SELECT {', '.join(columns)} FROM priced AS c"  # noqa: S608 - columns of the schema
            f" WHERE {test} AND seq > {self.words.mark} ORDER BY seq LIMIT {self.words.mark}",
            [*values, seq, limit],
        ).fetchall()
        return [self._row(mark, row) for row in rows]

    def _row(self, mark: str, row: Sequence[Any]) -> StoredRow:
        """A row of ENTRY, when it was priced again, and its number."""
        return StoredRow(**self._fields((*ENTRY, "repriced"), row), cursor=f"{mark}.{row[-1]}")

    def _fields(self, names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
        return {name: self.value(name, item) for name, item in zip(names, row, strict=False)}


def _seq(cursor: str, mark: str) -> int:
    store, _, seq = cursor.partition(".")
    if store != mark or not (seq.isascii() and seq.isdigit()):
        raise ValueError("that is no cursor of this store: begin without one")
    return int(seq)
