"""The store: the rows of all journals in one database for queries, with one final row per call.

The store is made from the journals alone and can be rebuilt from them. `open_store` opens one: a
SQLite file for one machine, or a PostgreSQL database for many. The views `costs`, `attempts`,
`feedback` and `days` are public, under the same names in both.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from gateway.core.ledger_rows import AttemptRow, DamagedRow, FeedbackRow, FinalRow, ReplayRow
from gateway.ledger.call_order import NEWEST_FIRST, CallOrder, CallSearch
from gateway.ledger.errors import StoreError
from gateway.ledger.query import Filters, QueryGroup, Slots
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.sql_reader import SqlReader
from gateway.ledger.time_series import LatencyTimes

MAX_FEED_TRIES, FEED_WAIT_SECONDS = 100, 0.02
"""The maximum number of feed attempts while another process feeds, and seconds between them."""


class Rebuild(NamedTuple):
    """A new store in place of one whose file was damaged or missing."""

    reason: str
    """The defect of the old file."""
    aside_name: str | None
    """The damaged file's new name; None if the file was missing."""
    done: bool = False
    """True once the store has all rows of the journals."""
    missing_until: float | None = None
    """Rows of calls received before this moment may be missing: their segments were removed."""


class StoredRow(FinalRow, frozen=True, kw_only=True, tag="final", tag_field="kind"):
    """A final row in the store: cost, estimate, baseline and price are the latest ones."""

    repriced: float | None = None
    """The time of the last reprice, in seconds since the epoch; None if there was none."""
    cursor: str
    """The position in the order in which rows came in, for `after_cursor`; opaque."""


class OrderedRows(NamedTuple):
    """Rows in an order, and a cursor for followers."""

    rows: list[StoredRow]
    cursor: str
    """A cursor for `after_cursor` of `read_entries`: all rows that come in or come again after
    these were read."""


class TierAnswers(NamedTuple):
    """The number of answers of a lab's tier, and their output tokens."""

    lab: str
    tier: str
    answers: int
    tokens: int
    """The output tokens of all answers, with reasoning."""


class SumsReport(NamedTuple):
    """The stored sums of a quarter of an hour, or of a day, compared with its rows."""

    since: float
    """Seconds since the epoch."""
    until: float
    differences: int
    """The number of wrong sums and of missing ones; a changed sum counts as both."""


class IngestState(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of this process's feeds; available also while the store is down."""

    rows: int = 0
    """The number of rows that changed the store."""
    skipped: int = 0
    """The number of lines that were no row: torn, or of a kind that this version does not know."""
    damaged: int = 0
    """The number of rows of the journals that were found damaged or missing."""
    wrong_sums: int = 0
    """The number of sums that differed from their rows, and were made again."""
    rebuilding: bool = False
    """True while the store is rebuilt because its file was damaged or missing; it refuses
    queries."""
    fed_until: float | None = None
    """The store has all rows that the journals had at this moment, in seconds since the epoch. It
    may lag behind by `now - fed_until`. None until a feed has ended."""


class LedgerReader(Protocol):
    """Answers questions about calls; any thread may use it, and all methods block.

    Every method raises StoreError if the store cannot be reached, read or written, and ValueError
    for an unknown name or cursor. Times are seconds since the epoch. `since` is included and
    `until` is not; both refer to the moment of a call's receipt. `only` selects calls that have one
    of the given values for each name. The names are those of `query.FILTER_NAMES`; days are days of
    `zone`.
    """

    def sum_costs(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
    ) -> list[QueryGroup]:
        """Group calls by names of `query.GROUP_BY_NAMES`, and add them up exactly.

        With `slots`, the result is a series: each group also belongs to one slot, whose name is the
        last of the group's names. `since` must not be before the first slot. Slots without calls
        have no group.

        With an empty `by` there is always exactly one group. The sums of every grouping equal the
        total, except by `tag` and `guard`: a call counts once for each of its tags or guards. Days
        come in order; within them, or without them, the highest cost comes first.
        """
        ...

    def measure_latency(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
    ) -> list[LatencyTimes]:
        """Measure how long answered calls took, grouped as in `sum_costs`, but not by `day`.

        Groups are sorted by names. Groups without an answered call are left out.
        """
        ...

    def read_entries(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        after_cursor: str | None = None,
        limit: int = 1000,
    ) -> list[StoredRow]:
        """Return final rows in the order in which they came in: at most `limit`, newest last.

        `after_cursor` is the cursor of the last row that the caller has seen. A follower misses
        nothing: a late row comes later. A changed row comes again with a new cursor: one with a new
        price, or the call's own row in place of recovery's. Of several rows with one id the last
        one counts. A cursor belongs to its store. Raises ValueError for a cursor of another store.
        """
        ...

    def read_attempts(self, id: str) -> list[AttemptRow]:
        """Return a call's attempts that gave no answer, in order."""
        ...

    def read_feedback(self, ids: Sequence[str]) -> dict[str, FeedbackRow]:
        """Return the last feedback on each of some calls. Does not check who may give it."""
        ...

    def read_damages(
        self, *, since: float | None = None, until: float | None = None
    ) -> list[DamagedRow]:
        """Return the gaps in the journals that calls received in some time may have fallen into."""
        ...

    def close(self) -> None:
        """Close connections. A closed store opens them again on use."""
        ...


class LedgerStore(LedgerReader, SqlReader, Protocol):
    """A store that a gateway feeds from its journals."""

    def sum_costs(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
        question_limit: QuestionLimit | None = None,
    ) -> list[QueryGroup]:
        """Group calls and add them up, as `LedgerReader.sum_costs`.

        Raises QueryTooLongError after the time of `question_limit`, and notes there if the question
        reads single rows.
        """
        ...

    def measure_latency(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
        question_limit: QuestionLimit | None = None,
    ) -> list[LatencyTimes]:
        """Measure how long calls took, as `LedgerReader.measure_latency`.

        Raises QueryTooLongError after the time of `question_limit`, and notes there if the question
        reads single rows.
        """
        ...

    def feed(self, folder: Path) -> int | None:
        """Feed new rows from a folder's journals. Return how many rows changed the store.

        Memory does not grow with the number of rows. A feed continues where it stopped after a
        failure. Only one process feeds from a folder at a time. If another does, this returns None,
        and the store may not have all rows of the journals yet.
        """
        ...

    def catch_up(self, folder: Path) -> None:
        """Feed as `feed`; if another process is feeding, wait for it, for a few seconds at most."""
        ...

    def rebuild(self, folder: Path) -> int | None:
        """Read all journals of a folder again, and replace what the store has of their rows.

        Rows whose segments are gone or damaged stay. All sums are to be made again. Queries see the
        old rows until the end. Return the number of rows; None, without work, if another process
        feeds from the folder.
        """
        ...

    def check_sums(self, *, since: float = 0.0) -> Iterator[SumsReport]:
        """Yield a comparison with rows for each quarter of an hour and day with sums, oldest first.

        Quarters come before days. The store stays as it is.
        """
        ...

    def make_sums(self, *, until: float = math.inf) -> int:
        """Make the sums of quarters of an hour and of days that are over, as long as they lack any.

        Begin none after a moment. Return how many were made. Questions are answered exactly with
        and without them: they only save time.
        """
        ...

    def continue_sums(self, folder: Path) -> None:
        """Make some sums of past quarters and days; if none is lacking, compare some with rows.

        Does nothing while another process does so for this folder. A day takes seconds, so nobody
        should wait for it.
        """
        ...

    def find_call(self, folder: Path, id: str) -> StoredRow | None:
        """Feed the journals of a folder, then return the final row of a call.

        If another process is feeding, this waits for it, for a few seconds at most. Returns None if
        there is no such row.
        """
        ...

    def state(self) -> IngestState:
        """Return the progress of this process's feeds, without a query to the database."""
        ...

    def read_missing_until(self) -> float | None:
        """Return the moment before which rows may be missing since a rebuild; None if none are.

        The segments with these rows were removed before the store's file was damaged.
        """
        ...

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """Return how many bytes of each segment of a folder the store has, by segment name."""
        ...

    def read_ordered(  # noqa: PLR0913 - one for each filter
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        order: CallOrder = NEWEST_FIRST,
        search: CallSearch | None = None,
        before_id: str | None = None,
        limit: int = 1000,
        max_seconds: float | None = None,
    ) -> OrderedRows:
        """Return final rows in an order, at most `limit`; by default those received last.

        `before_id` is the id of the last row that the caller has seen: the next ones follow. Raises
        ValueError if there is no such call, and QueryTooLongError after `max_seconds`. A search and
        each order but that of receipt read all calls between `since` and `until`.
        """
        ...

    def read_replay_rows(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> Iterator[ReplayRow]:
        """Yield rows with the input of their decisions, in the order in which calls were received.

        Memory does not grow with the number of rows.
        """
        ...

    def sum_output_tokens(self, limit: int) -> list[TierAnswers]:
        """Return the output tokens of the newest answers, at most `limit`, by lab and tier."""
        ...

    def count(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> int:
        """Return the number of final rows."""
        ...

    def read_unpriced(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> Iterator[StoredRow]:
        """Yield rows with known tokens and no known cost or baseline, as of the first `next`."""
        ...

    def find_user_calls(self, end_user: str) -> set[str]:
        """Return the ids of the calls of an end user (a hash)."""
        ...

    def erase_user(self, end_user: str) -> None:
        """Erase the personal part of the rows of an end user (a hash), in short transactions."""
        ...

    def prune(self, cutoff: float) -> int:
        """Delete calls received before a moment, in short transactions. Return how many."""
        ...

    def keep_connection(self) -> None:
        """Keep the connection of a feed for the next one, for a process that feeds often.

        Only for a process that does not fork afterwards. It ends with `close`.
        """
        ...


def count_damaged_rows(damages: Iterable[DamagedRow]) -> int:
    """Return the number of rows that lie in some gaps."""
    return sum(row.last - row.first + 1 for row in damages)


def open_reader(url: str) -> LedgerReader:
    """Open a store, or a ClickHouse database that sinks of gateways write, for questions only.

    The URL is one of `open_store`, or clickhouse://user:password@host:8443/database, which needs
    the extra `clickhouse`. Raises StoreError.
    """
    if url.startswith("clickhouse://"):
        try:
            from gateway.ledger.clickhouse.store import ClickHouseStore  # noqa: PLC0415 - optional
        except ImportError as error:
            message = "ClickHouse needs a driver: pip install 'tiergate[clickhouse]'"
            raise StoreError(message) from error
        return ClickHouseStore(url)
    return open_store(url)


def open_store(url: str, *, on_rebuild: Callable[[Rebuild], object] | None = None) -> LedgerStore:
    """Open the store at a URL; create or upgrade it if needed.

    The URL is sqlite:///relative/path, sqlite:////absolute/path, or
    postgresql://user:password@host/database, which needs the extra `postgres`. With `on_rebuild` a
    damaged SQLite file is set aside and rebuilt, and `on_rebuild` gets the Rebuild. Without it the
    file stays as it is, and StoreDamagedError is raised. Raises StoreError.
    """
    # Imported here: these modules import this one, and PostgreSQL's driver is optional.
    if url.startswith(("postgresql://", "postgres://")):
        from gateway.ledger.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore(url)
    from gateway.ledger.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore(url, on_rebuild=on_rebuild)
