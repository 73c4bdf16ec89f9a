"""Write rows to the journal, then pass them to the sinks that count, trace or print them.

If the journal does not take a row because the disk is full or gone, the writer keeps it in memory.
It writes the row once there is room. Rows that do not fit into memory are lost, and counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from gateway.core.call_accounting import FinalRowMaker, IntentRowMaker
from gateway.core.ledger_rows import ANSWERED_STATES, FinalRow, IntentRow, Row
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, encode_row
from gateway.telemetry.log import Log, locate_error

type Policy = Literal["refuse", "serve"]
"""The policy for a call whose intent cannot be written."""
type Sink = Callable[[Row], None]

_MAX_LATE_ROWS = 4096  # rows: milliseconds to write, once the disk takes them
_LOG_INTERVAL_SECONDS = 10.0


class FlushSchedule(Protocol):
    """A schedule that calls `flush` before it sends what rows must precede: the write batch."""

    def schedule_flush(self) -> bool:
        """Flush at the end of this iteration; False if nothing may wait for that."""
        ...


class LedgerWriter:
    """Takes the rows of calls, in the journal's thread.

    Under the policy `refuse`, it raises JournalError for an intent that is not in the journal, so
    that no request leaves without a trace. Under `serve` it never raises.

    `sinks` get each row for which no JournalError is raised, even if it is lost; a failing sink
    affects no call. `outcome_sinks` get all rows except intents. `count_rows` gets the same rows,
    those made together in one call. `clock` returns seconds. The writer keeps at most
    `max_late_rows` rows in memory, half of them for final rows alone. It calls `on_failure` for
    each row that the journal does not take.
    """

    def __init__(  # noqa: PLR0913 - one argument for each receiver
        self,
        journal: Journal,
        policy: Policy,
        sinks: Sequence[Sink],
        log: Log,
        *,
        outcome_sinks: Sequence[Sink] = (),
        count_rows: Callable[[Sequence[Row]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_late_rows: int = _MAX_LATE_ROWS,
        on_failure: Callable[[], object] = int,
    ) -> None:
        self.lost_rows = 0
        """The number of rows that the journal did not take and that did not fit into memory."""
        self._journal = journal
        self._refuses_calls = policy == "refuse"
        self._sinks, self._outcome_sinks = tuple(sinks), (*outcome_sinks, *sinks)
        self._count_rows = count_rows
        self._log = log
        self._on_failure = on_failure
        self._clock = clock
        self._max_late_rows = max_late_rows
        self._late_rows: deque[Row] = deque()
        self._flush_schedule: FlushSchedule | None = None
        self._pending_intents: list[IntentRowMaker] = []
        self._pending_final_rows: list[FinalRow] = []
        self._pending_calls: list[tuple[FinalRowMaker, Callable[[FinalRow], None]]] = []
        self._has_refused_intents = False
        """True if intents that waited were not written, which `flush` has yet to report."""
        self._next_log_times: dict[str, float] = {}
        self._disk_error = ""
        """The error of the last row that the disk did not take."""
        self._probed_rows = 0
        """The journal's number of written rows at the last probe of the disk."""

    @property
    def late_row_count(self) -> int:
        """The number of rows that wait in memory for the journal."""
        return len(self._late_rows)

    def adopt(
        self, policy: Policy, sinks: Sequence[Sink], outcome_sinks: Sequence[Sink] = ()
    ) -> None:
        """Use another policy and other sinks, from the next row on."""
        self._refuses_calls = policy == "refuse"
        self._sinks, self._outcome_sinks = tuple(sinks), (*outcome_sinks, *sinks)

    def defer_rows(self, flush_schedule: FlushSchedule) -> None:
        """Defer the intents of calls, and the final rows of whole answers, from now on."""
        self._flush_schedule = flush_schedule

    def add_intent(self, make_row: IntentRowMaker) -> None:
        """Take the intent of a request that waits until `flush` reports that it may be sent.

        The row is made when it is written, as in `add_ended_call`.
        """
        if (flush_schedule := self._flush_schedule) is None or not flush_schedule.schedule_flush():
            self(make_row())
        else:
            self._pending_intents.append(make_row)

    def add_ended_call(self, make_row: FinalRowMaker, on_taken: Callable[[FinalRow], None]) -> None:
        """Take the final row of a call with a whole answer; it is made when it is written.

        The writer then calls `on_taken` with it. Rows that are made one after the other take half
        as long: what they need is still at hand.
        """
        self._pending_calls.append((make_row, on_taken))
        if (flush_schedule := self._flush_schedule) is None or not flush_schedule.schedule_flush():
            self._write_deferred()

    def __call__(self, row: Row) -> None:
        """Take one row."""
        if (
            (flush_schedule := self._flush_schedule) is not None
            and isinstance(row, FinalRow)
            and row.state in ANSWERED_STATES
            and not row.stream
        ):
            self._pending_final_rows.append(row)
            if not flush_schedule.schedule_flush():
                self._write_deferred()
        else:
            if self._pending_intents:
                self._write_intents(
                    self._make_intents()
                )  # first, so that a call's rows stay in order
            self._write_row(row)
        self._notify(row)

    def _notify(self, row: Row) -> None:
        if isinstance(row, IntentRow):
            self._notify_sinks(row, self._sinks)
        else:
            self._count_safely((row,))
            self._notify_sinks(row, self._outcome_sinks)

    def _count_safely(self, rows: Sequence[Row]) -> None:
        if self._count_rows is not None:
            try:
                self._count_rows(rows)
            except Exception as error:  # noqa: BLE001 - a failing observer must cost no call
                self._log_seldom("sink", locate_error(error))

    def _notify_sinks(self, row: Row, sinks: Sequence[Sink]) -> None:
        for sink in sinks:
            try:
                sink(row)
            except Exception as error:  # noqa: BLE001 - as above
                self._log_seldom("sink", locate_error(error))

    def flush(self) -> bool:
        """Write all deferred rows. Return True if all requests whose intents waited may be sent."""
        if self._pending_intents or self._pending_final_rows or self._pending_calls:
            self._write_deferred()
        has_refused_intents, self._has_refused_intents = self._has_refused_intents, False
        return not has_refused_intents

    def _write_deferred(self) -> None:
        """Make the rows that wait, write them, and report those of ended calls."""
        pending_calls, self._pending_calls = self._pending_calls, []
        ended_calls = []
        for make_row, on_taken in pending_calls:
            try:
                ended_calls.append((make_row(), on_taken))
            except Exception as error:  # noqa: BLE001 - the other rows must be written
                self._log("bug", error=locate_error(error))
        rows = [row for row, _ in ended_calls]
        final_rows, self._pending_final_rows = self._pending_final_rows + rows, []
        self._write_together(self._make_intents() if self._pending_intents else [], final_rows)
        if rows:
            self._count_safely(rows)
        for row, on_taken in ended_calls:
            self._notify_sinks(row, self._outcome_sinks)
            try:
                on_taken(row)
            except Exception as error:  # noqa: BLE001 - the call is over
                self._log("bug", call=row.id, error=locate_error(error))

    def _write_together(
        self, intents: list[tuple[IntentRow, bytes]], final_rows: list[FinalRow]
    ) -> None:
        """Write rows with one system call; if the journal has no room for all, one by one."""
        if (intents or final_rows) and not self._late_rows:
            try:
                self._journal.append_together(
                    [*intents, *[(row, encode_row(row)) for row in final_rows]]
                )
            except JournalError:
                pass  # the journal may have room for some
            else:
                if self._sinks:
                    for intent, _ in intents:
                        self._notify(intent)
                return
        self._write_intents(intents)
        for row in final_rows:
            self._write_row(row)

    def _make_intents(self) -> list[tuple[IntentRow, bytes]]:
        """Make the intents that wait. Return each with its line."""
        row_makers, self._pending_intents = self._pending_intents, []
        intents = []
        for make_row in row_makers:
            try:
                row = make_row()
                intents.append((row, encode_row(row)))
            except Exception as error:  # noqa: BLE001 - the other rows must be written
                self._has_refused_intents = True  # without its row no request may leave
                self._log("bug", error=locate_error(error))
        return intents

    def _write_intents(self, intents: list[tuple[IntentRow, bytes]]) -> None:
        """Write intents one by one."""
        for row, _ in intents:
            try:
                self._write_row(row)
            except JournalError:
                self._has_refused_intents = True
            else:
                self._notify(row)

    def _write_row(self, row: Row) -> None:
        try:
            if self._late_rows:
                self.catch_up()  # first, so that a call's rows stay in order
            self._journal.write(row)
        except JournalError as error:
            self._on_failure()
            self._keep_late_row(row, error)

    def catch_up(self) -> None:
        """Write the late rows. Raises JournalError at the first one that the journal refuses."""
        count = len(self._late_rows)
        while self._late_rows:
            self._journal.write(self._late_rows[0])
            self._late_rows.popleft()
        if count:
            self._next_log_times.pop("ledger", None)
            self._log("ledger", text="writable again", rows=count, lost=self.lost_rows)

    async def wait_until_synced(self) -> None:
        """Return once all taken rows are on the disk.

        Raises JournalError if the disk refuses, under the policy `refuse` alone.
        """
        self._write_deferred()
        try:
            await self._journal.wait_until_synced()
        except JournalError as error:
            self._log_seldom("ledger", error.strerror)
            if self._refuses_calls:
                raise

    async def find_refusal_reason(self, *, needs_sync: bool) -> str:
        """Return why the journal takes no row, if calls are then refused; else empty.

        If no row was written lately, the disk is probed. With `needs_sync` a call also waits for
        the disk.
        """
        if not self._refuses_calls:
            return ""
        if self._late_rows:
            return self._disk_error
        try:
            if needs_sync:
                await self._journal.wait_until_synced()
            if self._probed_rows == self._journal.written_rows:
                await asyncio.to_thread(self._journal.probe)
            self._probed_rows = self._journal.written_rows
        except JournalError as error:
            return error.strerror or ""
        return ""

    async def retry_late_rows(
        self, sleep: Callable[[float], Awaitable[None]], interval: float = 1.0
    ) -> None:
        """Retry the late rows every `interval` seconds, even without calls, until cancelled."""
        while True:
            await sleep(interval)
            self._retry_late_rows()

    def close(self) -> None:
        """Try to write the late rows once more; rows that fail now are lost."""
        self._write_deferred()
        self._retry_late_rows()
        self.lost_rows += len(self._late_rows)
        self._late_rows.clear()
        if self.lost_rows:
            self._log("ledger", text="rows were lost", lost=self.lost_rows)

    def _retry_late_rows(self) -> None:
        try:
            self.catch_up()
        except JournalError as error:
            self._log_seldom("ledger", error.strerror)

    def _keep_late_row(self, row: Row, error: JournalError) -> None:
        self._disk_error = error.strerror or ""
        if self._refuses_calls and isinstance(row, IntentRow):
            self._log_seldom("ledger", error.strerror)
            raise error
        if len(self._late_rows) < (
            self._max_late_rows if isinstance(row, FinalRow) else self._max_late_rows // 2
        ):
            self._late_rows.append(row)
        else:
            self.lost_rows += 1
        self._log_seldom("ledger", error.strerror)

    def _log_seldom(self, event_name: str, error: str | None) -> None:
        """Log a failure, at most once in ten seconds: a full disk fails every call."""
        now = self._clock()
        if now >= self._next_log_times.get(event_name, now):
            self._next_log_times[event_name] = now + _LOG_INTERVAL_SECONDS
            self._log(event_name, error=error, late=len(self._late_rows), lost=self.lost_rows)
