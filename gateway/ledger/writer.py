"""Where rows go: into the journal, then to whoever counts, traces or prints them.

Where the journal does not take a row, because the disk is full or gone, what has happened is kept
in memory and written once there is room again; what does not fit there is lost, and counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from gateway.core.call_accounting import Opening
from gateway.core.ledger_rows import ANSWERED, FinalRow, IntentRow, Row
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, together, write
from gateway.telemetry.log import Log, where

type Policy = Literal["refuse", "serve"]
"""What becomes of a call whose intent cannot be written."""
type Sink = Callable[[Row], None]

_MOST = 4096  # rows: milliseconds to write, once they can be
_QUIET = 10.0


class FlushSchedule(Protocol):
    """What has `flush` called before anything is sent that rows must be ahead of: an outbox."""

    def soon(self) -> None:
        """At the end of this turn of the loop, or at once."""
        ...

    def due(self) -> bool:
        """At the end of this turn; False where that would be for one call alone."""
        ...


class EndedCall(Protocol):
    """A call that has ended, and whose last row is yet to be made."""

    def row(self) -> FinalRow:
        """The row, made once."""
        ...

    def told(self, row: FinalRow) -> None:
        """It was taken."""
        ...


class LedgerWriter:
    """Takes the rows of calls, in the journal's thread.

    Under the policy `refuse`, it raises JournalError for an intent that is not in the journal, so
    that nothing is sent that may leave no trace; under `serve` it never raises. `sinks` get each
    row that was taken, or that waits, and one that fails harms nobody; `after` get all but those of
    requests that are yet to be sent, and so does `count`, at once what was made together. `clock`
    counts seconds;
    `most` rows are kept at most, a half of them for the ends of calls alone. `failed` is told of
    each that the journal does not take.
    """

    def __init__(  # noqa: PLR0913 - one argument for each that is told
        self,
        journal: Journal,
        policy: Policy,
        sinks: Sequence[Sink],
        log: Log,
        *,
        after: Sequence[Sink] = (),
        count: Callable[[Sequence[Row]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        most: int = _MOST,
        failed: Callable[[], object] = int,
    ) -> None:
        self.lost = 0
        """Rows that the journal did not take and that did not fit into memory."""
        self._journal = journal
        self._refuse = policy == "refuse"
        self._sinks, self._after = tuple(sinks), (*after, *sinks)
        self._counts = count
        self._log = log
        self._failed = failed
        self._clock = clock
        self._most = most
        self._late: deque[Row] = deque()
        self._turns: FlushSchedule | None = None
        self._asked: list[Opening] = []
        self._ends: list[FinalRow] = []
        self._unmade: list[EndedCall] = []
        self._untaken = False
        """Rows of requests that waited were not taken, which is yet to be told."""
        self._said: dict[str, float] = {}
        self._why = ""
        """The error of the last row that the disk did not take."""
        self._probed = 0
        """Rows that were written at the last look whether it takes more."""

    @property
    def late(self) -> int:
        """Rows that wait in memory for the journal."""
        return len(self._late)

    def adopt(self, policy: Policy, sinks: Sequence[Sink], after: Sequence[Sink] = ()) -> None:
        """Go by another policy, and tell others, from the next row on."""
        self._refuse = policy == "refuse"
        self._sinks, self._after = tuple(sinks), (*after, *sinks)

    def wait(self, turns: FlushSchedule) -> None:
        """From now on last rows of calls whose answers are whole, and rows of requests, wait."""
        self._turns = turns

    def ask(self, opening: Opening) -> None:
        """Take the row of a request that is not sent before `flush` has told that it may be.

        It is made where it is written, as that of `end` is.
        """
        if (turns := self._turns) is None or not turns.due():
            self(opening())
        else:
            self._asked.append(opening)

    def end(self, ending: EndedCall) -> None:
        """Take the last row of a call whose answer is whole: it is made where it is written.

        Rows that are made one after the other take half as long: what they need is at hand.
        """
        self._unmade.append(ending)
        if (turns := self._turns) is None:
            self._put()
        else:
            turns.soon()

    def __call__(self, row: Row) -> None:
        """Take one row."""
        if (
            (turns := self._turns) is not None
            and isinstance(row, FinalRow)
            and row.state in ANSWERED
            and not row.stream
        ):
            self._ends.append(row)
            turns.soon()
        else:
            if self._asked:
                self._begin(self._opened())  # first, so that rows of a call stay in their order
            self._write(row)
        self._tell(row)

    def _tell(self, row: Row) -> None:
        if isinstance(row, IntentRow):
            self._show(row, self._sinks)
        else:
            self._count((row,))
            self._show(row, self._after)

    def _count(self, rows: Sequence[Row]) -> None:
        if self._counts is not None:
            try:
                self._counts(rows)
            except Exception as error:  # noqa: BLE001 - no call is lost for what only looks on
                self._log_seldom("sink", where(error))

    def _show(self, row: Row, sinks: Sequence[Sink]) -> None:
        for sink in sinks:
            try:
                sink(row)
            except Exception as error:  # noqa: BLE001 - as above
                self._log_seldom("sink", where(error))

    def flush(self) -> bool:
        """Write what waits; tells whether all requests whose rows waited may be sent."""
        self._put()
        untaken, self._untaken = self._untaken, False
        return not untaken

    def _put(self) -> None:
        if not self._unmade:
            self._take()
            return
        unmade, self._unmade = self._unmade, []
        made, rows = list[EndedCall](), list[FinalRow]()
        for one in unmade:
            try:
                rows.append(one.row())
            except Exception as error:  # noqa: BLE001 - those of others must be written
                self._log("bug", error=where(error))
            else:
                made.append(one)
        self._ends += rows
        self._take()
        if rows:
            self._count(rows)
        for one, row in zip(made, rows, strict=True):
            self._show(row, self._after)
            try:
                one.told(row)
            except Exception as error:  # noqa: BLE001 - the call is over
                self._log("bug", call=row.id, error=where(error))

    def _take(self) -> None:
        opened, ends = self._opened(), self._ends
        if not (opened or ends):
            return
        self._ends = []
        if not self._late:
            try:
                self._journal.take(opened, ends)
            except JournalError:
                pass  # there may be room for some
            else:
                if self._sinks:
                    for intent, _ in opened:
                        self._tell(intent)
                return
        self._begin(opened)
        for row in ends:
            self._write(row)

    def _opened(self) -> list[tuple[IntentRow, bytes]]:
        """The rows of requests that wait, made here, each with its line."""
        if not self._asked:
            return []
        asked, self._asked = self._asked, []
        made = list[IntentRow]()
        for opening in asked:
            try:
                made.append(opening())
            except Exception as error:  # noqa: BLE001 - those of others must be written
                self._unopened(error)
        if (lines := together(made)) is not None:
            return [*zip(made, lines.splitlines(keepends=True), strict=True)]
        opened = []
        for row in made:
            try:
                opened.append((row, write(row)))
            except Exception as error:  # noqa: BLE001 - as above
                self._unopened(error)
        return opened

    def _unopened(self, error: Exception) -> None:
        self._untaken = True  # without its row no request may leave
        self._log("bug", error=where(error))

    def _begin(self, opened: list[tuple[IntentRow, bytes]]) -> None:
        """Write rows of requests one by one."""
        for row, _ in opened:
            try:
                self._write(row)
            except JournalError:
                self._untaken = True
            else:
                self._tell(row)

    def _write(self, row: Row) -> None:
        try:
            if self._late:
                self.catch_up()  # first, so that rows of a call stay in their order
            self._journal.write(row)
        except JournalError as error:
            self._failed()
            self._keep(row, error)

    def catch_up(self) -> None:
        """Write what is late. Raises JournalError at the first row that is not taken."""
        count = len(self._late)
        while self._late:
            self._journal.write(self._late[0])
            self._late.popleft()
        if count:
            self._said.pop("ledger", None)
            self._log("ledger", text="writable again", rows=count, lost=self.lost)

    async def settled(self) -> None:
        """Return once all that was taken is on the disk.

        Raises JournalError where the disk refuses, under the policy `refuse` alone.
        """
        self._put()
        try:
            await self._journal.settled()
        except JournalError as error:
            self._log_seldom("ledger", error.strerror)
            if self._refuse:
                raise

    async def refuses(self, *, synced: bool) -> str:
        """Say why the journal takes no row, where calls are then refused; empty where it does.

        Where no row has come lately, the disk is tried. `synced`: a call waits for the disk too.
        """
        if not self._refuse:
            return ""
        if self._late:
            return self._why
        try:
            if synced:
                await self._journal.settled()
            if self._probed == self._journal.written:
                await asyncio.to_thread(self._journal.probe)
            self._probed = self._journal.written
        except JournalError as error:
            return error.strerror or ""
        return ""

    async def keep(self, sleep: Callable[[float], Awaitable[None]], interval: float = 1.0) -> None:
        """Try what is late again and again, also where no call comes, until cancelled. Seconds."""
        while True:
            await sleep(interval)
            self._try()

    def close(self) -> None:
        """Try what is late a last time; what is not taken now is lost."""
        self._put()
        self._try()
        self.lost += len(self._late)
        self._late.clear()
        if self.lost:
            self._log("ledger", text="rows were lost", lost=self.lost)

    def _try(self) -> None:
        try:
            self.catch_up()
        except JournalError as error:
            self._log_seldom("ledger", error.strerror)

    def _keep(self, row: Row, error: JournalError) -> None:
        self._why = error.strerror or ""
        if self._refuse and isinstance(row, IntentRow):
            self._log_seldom("ledger", error.strerror)
            raise error
        if len(self._late) < (self._most if isinstance(row, FinalRow) else self._most // 2):
            self._late.append(row)
        else:
            self.lost += 1
        self._log_seldom("ledger", error.strerror)

    def _log_seldom(self, event: str, error: str | None) -> None:
        """Log a failure, at most once in a while: a full disk fails every call."""
        now = self._clock()
        if now >= self._said.get(event, now):
            self._said[event] = now + _QUIET
            self._log(event, error=error, late=len(self._late), lost=self.lost)
