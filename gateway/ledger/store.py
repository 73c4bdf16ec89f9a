"""The store: the rows of all journals put together for questions, one final row a call.

It is made from the journals alone and can be made again from them. `open_store` opens one: a SQLite
file for one machine, a PostgreSQL database for many. The views `sum_costs`, `read_attempts` and
`days` are its public tables, with `read_feedback`, under the same names in both.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from gateway.core.ledger_rows import AttemptRow, FeedbackRow, FinalRow, ReplayRow
from gateway.ledger.query import Filters, QueryGroup, Slots
from gateway.ledger.time_series import LatencyTimes

MAX_FEED_TRIES, FEED_WAIT_SECONDS = 100, 0.02
"""To feed where another does, and seconds between them."""


class Rebuild(NamedTuple):
    """A store that took the place of one whose file was damaged, or gone."""

    reason: str
    """What was wrong with the file before."""
    aside_name: str | None
    """The name that the damaged file has now; None where it was gone."""
    done: bool = False
    """True once all that the journals have is in it."""
    missing_until: float | None = None
    """Of calls received before this moment rows may be missing: their segments were removed."""


class StoredRow(FinalRow, frozen=True, kw_only=True, tag="final", tag_field="kind"):
    """A final row as the store has it: cost, estimate, baseline and price are the latest ones."""

    repriced: float | None = None
    """When it was priced again, seconds since the epoch; None where it never was."""
    cursor: str
    """Its place in the order in which rows came in, for `after_cursor`; opaque."""


class NewestRows(NamedTuple):
    """Rows of the calls that were received last, and where whoever has them goes on."""

    rows: list[StoredRow]
    """Newest first."""
    cursor: str
    """For `after_cursor` of `read_entries`: all that comes in, or comes again, once these have been
    read."""


class TierAnswers(NamedTuple):
    """Answers that a tier of a lab gave."""

    lab: str
    tier: str
    answers: int
    tokens: int
    """Of all of them, with their reasoning."""


class IngestState(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has been fed by this process; known also while the store is down."""

    rows: int = 0
    """Rows that changed it."""
    skipped: int = 0
    """Lines that were no row: torn, or of a kind that this version does not know."""
    rebuilding: bool = False
    """True while it is fed anew, as its file was damaged or gone: questions are refused."""
    fed_until: float | None = None
    """Everything that the journals had at this moment, in seconds since the epoch, is in it;
    `now - at` is how far it may lag behind. None until a feed has ended."""


class LedgerStore(Protocol):
    """What every store does; each may be used from any thread, and all methods block.

    Everything raises StoreError where the store cannot be reached, read or written, and ValueError
    for a name or cursor that it does not know. Times are seconds since the epoch; `since` is
    included and `until` is not, both of the moment a call was received. `only` keeps calls that
    have one of the values given for each name; the names are those of `query.ONLY`, and days are
    those of `zone`.
    """

    def feed(self, folder: Path) -> int | None:
        """Read what the journals of a folder have got since; returns how many rows that changed.

        It takes as much memory for many rows as for few, and goes on where it was after a failure.
        One feeds from a folder at a time: where another does, this returns None, and what the
        journals have may not all be there yet.
        """
        ...

    def catch_up(self, folder: Path) -> None:
        """As `feed`; where another feeds from it, that is waited for, a few seconds at most."""
        ...

    def find_call(self, folder: Path, id: str) -> StoredRow | None:
        """The final row of a call, of which the journals of a folder are fed first.

        Where another process feeds from it, that is waited for, a few seconds at most. None where
        there is no such row.
        """
        ...

    def state(self) -> IngestState:
        """What this process has fed; it does not ask the database."""
        ...

    def read_missing_until(self) -> float | None:
        """A moment before which rows of calls may be missing since a rebuild; None where none are.

        The segments that had them were removed before the store's file was damaged.
        """
        ...

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """How many bytes of each segment of a folder, by name, the store has."""
        ...

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
        """Calls grouped by names of `query.BY`, added up exactly.

        With `slots`, a series: each group is of one slot too, whose name is the last of its own.
        `since` must not be before the first of them. Slots without calls have no group.

        With an empty `by` there is one group, whatever there is. The sums of every grouping but by
        `tag` and `guard` are those of the total: a call counts once for each of its tags, or of
        its guards. Days come in order, and within them, or without them, what cost most comes
        first.
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
        """How long answered calls of each group took, grouped as by `sum_costs`, but not by `day`.

        Groups come by their names. Those without an answered call are left out.
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
        """Final rows in the order in which they came in, at most `limit`, newest last.

        `after_cursor` is the cursor of the last row that was seen. A follower that goes on from it
        misses nothing: a row that comes late comes later, and one that changes (its price, or the
        call's own row in place of recovery's) comes again, with a new cursor. Keep the last one by
        id. A cursor belongs to its store; ValueError where it is another's.
        """
        ...

    def read_newest(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        before_id: str | None = None,
        limit: int = 1000,
    ) -> NewestRows:
        """Final rows of the calls that were received last, newest first, at most `limit`.

        `before_id` is the id of the last row that was seen: those of earlier calls follow.
        ValueError where there is no such call.
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
        """Rows with what they were decided on, in the order in which calls were received.

        It takes as much memory for many as for few.
        """
        ...

    def sum_output_tokens(self, limit: int) -> list[TierAnswers]:
        """Return the tokens of the newest answers by lab and tier; of `limit` answers at most."""
        ...

    def count(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> int:
        """How many final rows there are."""
        ...

    def read_attempts(self, id: str) -> list[AttemptRow]:
        """The requests of a call that gave no answer, in order."""
        ...

    def read_unpriced(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> Iterator[StoredRow]:
        """Rows whose tokens are known and whose cost or baseline is not, as of the first `next`."""
        ...

    def read_feedback(self, ids: Sequence[str]) -> dict[str, FeedbackRow]:
        """What has been said last of each of some calls; who may say it is not judged here."""
        ...

    def prune(self, cutoff: float) -> int:
        """Forget calls received before a moment, in short transactions; returns how many."""
        ...

    def keep_connection(self) -> None:
        """Let the connection of a feed be that of the next too: whoever feeds again and again.

        Only in a process that does not fork afterwards. It ends with `close`.
        """
        ...

    def close(self) -> None:
        """Let go of connections. A closed store opens them again when it is used."""
        ...


def open_store(url: str, *, on_rebuild: Callable[[Rebuild], object] | None = None) -> LedgerStore:
    """Open the store of a URL, made or brought up to date where that is needed.

    sqlite:///relative/path, sqlite:////absolute/path, or postgresql://user:password@host/database,
    which needs the extra `postgres`. With `on_rebuild` a damaged SQLite file is set aside and made
    anew, of which it is told; else it stays as it is, and StoreDamagedError is raised. Raises
    StoreError.
    """
    # Here: they import this module, and PostgreSQL's driver is not everywhere.
    if url.startswith(("postgresql://", "postgres://")):
        from gateway.ledger.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore(url)
    from gateway.ledger.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore(url, on_rebuild=on_rebuild)
