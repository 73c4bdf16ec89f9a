"""Where rows go: into the journal, then to whoever counts, traces or prints them.

Where the journal does not take a row, because the disk is full or gone, what has happened is kept
in memory and written once there is room again; what does not fit there is lost, and counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from gateway.core.call_accounting import IntentRowMaker
from gateway.core.ledger_rows import ANSWERED_STATES, FinalRow, IntentRow, Row
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, encode_row
from gateway.telemetry.log import Log, locate_error

type Policy = Literal["refuse", "serve"]
"""What becomes of a call whose intent cannot be written."""
type Sink = Callable[[Row], None]

_MAX_LATE_ROWS = 4096  # rows: milliseconds to write, once they can be
_LOG_INTERVAL_SECONDS = 10.0


class FlushSchedule(Protocol):
    """What has `flush` called before anything is sent that rows must be ahead of: an outbox."""

    def flush_soon(self) -> None:
        """At the end of this iteration of the loop, or at once."""
        ...

    def schedule_flush(self) -> bool:
        """At the end of this iteration; False where that would be for one call alone."""
        ...


class EndedCall(Protocol):
    """A call that has ended, and whose last row is yet to be made."""

    def make_final_row(self) -> FinalRow:
        """The row, made once."""
        ...

    def on_row_taken(self, row: FinalRow) -> None:
        """It was taken."""
        ...


class LedgerWriter:
    """Takes the rows of calls, in the journal's thread.

    Under the policy `refuse`, it raises JournalError for an intent that is not in the journal, so
    that nothing is sent that may leave no trace; under `serve` it never raises. `sinks` get each
    row that was taken, or that waits, and one that fails harms nobody; `outcome_sinks` get all but
    those of requests that are yet to be sent, and so does `count_rows`, at once what was made
    together. `clock` counts seconds; `max_late_rows` rows are kept at most, a half of them for the
    ends of calls alone. `on_failure` is told of each that the journal does not take.
    """

    def __init__(  # noqa: PLR0913 - one argument for each that is told
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
        """Rows that the journal did not take and that did not fit into memory."""
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
        self._pending_calls: list[EndedCall] = []
        self._has_refused_intents = False
        """Rows of requests that waited were not taken, which is yet to be told."""
        self._next_log_times: dict[str, float] = {}
        self._disk_error = ""
        """The error of the last row that the disk did not take."""
        self._probed_rows = 0
        """Rows that were written at the last look whether it takes more."""

    @property
    def late_row_count(self) -> int:
        """Rows that wait in memory for the journal."""
        return len(self._late_rows)

    def adopt(
        self, policy: Policy, sinks: Sequence[Sink], outcome_sinks: Sequence[Sink] = ()
    ) -> None:
        """Go by another policy, and tell others, from the next row on."""
        self._refuses_calls = policy == "refuse"
        self._sinks, self._outcome_sinks = tuple(sinks), (*outcome_sinks, *sinks)

    def defer_rows(self, flush_schedule: FlushSchedule) -> None:
        """From now on last rows of calls whose answers are whole, and rows of requests, wait."""
        self._flush_schedule = flush_schedule

    def add_intent(self, make_row: IntentRowMaker) -> None:
        """Take the row of a request that is not sent before `flush` has told that it may be.

        It is made where it is written, as that of `add_ended_call` is.
        """
        if (flush_schedule := self._flush_schedule) is None or not flush_schedule.schedule_flush():
            self(make_row())
        else:
            self._pending_intents.append(make_row)

    def add_ended_call(self, ended_call: EndedCall) -> None:
        """Take the last row of a call whose answer is whole: it is made where it is written.

        Rows that are made one after the other take half as long: what they need is at hand.
        """
        self._pending_calls.append(ended_call)
        if (flush_schedule := self._flush_schedule) is None:
            self._write_ended_calls()
        else:
            flush_schedule.flush_soon()

    def __call__(self, row: Row) -> None:
        """Take one row."""
        if (
            (flush_schedule := self._flush_schedule) is not None
            and isinstance(row, FinalRow)
            and row.state in ANSWERED_STATES
            and not row.stream
        ):
            self._pending_final_rows.append(row)
            flush_schedule.flush_soon()
        else:
            if self._pending_intents:
                self._write_intents(
                    self._make_intents()
                )  # first, so that rows of a call stay in their order
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
            except Exception as error:  # noqa: BLE001 - no call is lost for what only looks on
                self._log_seldom("sink", locate_error(error))

    def _notify_sinks(self, row: Row, sinks: Sequence[Sink]) -> None:
        for sink in sinks:
            try:
                sink(row)
            except Exception as error:  # noqa: BLE001 - as above
                self._log_seldom("sink", locate_error(error))

    def flush(self) -> bool:
        """Write what waits; tells whether all requests whose rows waited may be sent."""
        self._write_ended_calls()
        has_refused_intents, self._has_refused_intents = self._has_refused_intents, False
        return not has_refused_intents

    def _write_ended_calls(self) -> None:
        if not self._pending_calls:
            self._write_pending()
            return
        pending_calls, self._pending_calls = self._pending_calls, []
        ended_calls, rows = list[EndedCall](), list[FinalRow]()
        for ended_call in pending_calls:
            try:
                rows.append(ended_call.make_final_row())
            except Exception as error:  # noqa: BLE001 - those of others must be written
                self._log("bug", error=locate_error(error))
            else:
                ended_calls.append(ended_call)
        self._pending_final_rows += rows
        self._write_pending()
        if rows:
            self._count_safely(rows)
        for ended_call, row in zip(ended_calls, rows, strict=True):
            self._notify_sinks(row, self._outcome_sinks)
            try:
                ended_call.on_row_taken(row)
            except Exception as error:  # noqa: BLE001 - the call is over
                self._log("bug", call=row.id, error=locate_error(error))

    def _write_pending(self) -> None:
        intents, final_rows = self._make_intents(), self._pending_final_rows
        if not (intents or final_rows):
            return
        self._pending_final_rows = []
        if not self._late_rows:
            try:
                self._journal.append_together(intents, final_rows)
            except JournalError:
                pass  # there may be room for some
            else:
                if self._sinks:
                    for intent, _ in intents:
                        self._notify(intent)
                return
        self._write_intents(intents)
        for row in final_rows:
            self._write_row(row)

    def _make_intents(self) -> list[tuple[IntentRow, bytes]]:
        """The rows of requests that wait, made here, each with its line."""
        row_makers, self._pending_intents = self._pending_intents, []
        intents = []
        for make_row in row_makers:
            try:
                row = make_row()
                intents.append((row, encode_row(row)))
            except Exception as error:  # noqa: BLE001 - those of others must be written
                self._has_refused_intents = True  # without its row no request may leave
                self._log("bug", error=locate_error(error))
        return intents

    def _write_intents(self, intents: list[tuple[IntentRow, bytes]]) -> None:
        """Write rows of requests one by one."""
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
                self.catch_up()  # first, so that rows of a call stay in their order
            self._journal.write(row)
        except JournalError as error:
            self._on_failure()
            self._keep_late_row(row, error)

    def catch_up(self) -> None:
        """Write what is late. Raises JournalError at the first row that is not taken."""
        count = len(self._late_rows)
        while self._late_rows:
            self._journal.write(self._late_rows[0])
            self._late_rows.popleft()
        if count:
            self._next_log_times.pop("ledger", None)
            self._log("ledger", text="writable again", rows=count, lost=self.lost_rows)

    async def wait_until_synced(self) -> None:
        """Return once all that was taken is on the disk.

        Raises JournalError where the disk refuses, under the policy `refuse` alone.
        """
        self._write_ended_calls()
        try:
            await self._journal.wait_until_synced()
        except JournalError as error:
            self._log_seldom("ledger", error.strerror)
            if self._refuses_calls:
                raise

    async def find_refusal_reason(self, *, needs_sync: bool) -> str:
        """Say why the journal takes no row, where calls are then refused; empty where it does.

        Where no row has come lately, the disk is tried. `needs_sync`: a call waits for the disk
        too.
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
        """Try what is late again and again, also where no call comes, until cancelled. Seconds."""
        while True:
            await sleep(interval)
            self._retry_late_rows()

    def close(self) -> None:
        """Try what is late a last time; what is not taken now is lost."""
        self._write_ended_calls()
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
        """Log a failure, at most once in a while: a full disk fails every call."""
        now = self._clock()
        if now >= self._next_log_times.get(event_name, now):
            self._next_log_times[event_name] = now + _LOG_INTERVAL_SECONDS
            self._log(event_name, error=error, late=len(self._late_rows), lost=self.lost_rows)
