"""What calls leave in the ledger: a row before each request, one of a failure, one at the end."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import Struct

from gateway.core.call import Call
from gateway.core.call_accounting import CallAccount, CallTotals, Opening
from gateway.core.decision import Decision
from gateway.core.errors import Problem, unwritten
from gateway.core.ledger_rows import FinalRow, Row, State
from gateway.core.target import Account, Target
from gateway.telemetry.log import Log, where

_MOST_WARNED = 1000
"""Models that the log tells of: clients choose some of their names."""

type Extending = Callable[[Target], Awaitable[None]]
"""Lets a call pass once more, for a request to a target. Raises ProblemError."""


class EndingCall(Struct, frozen=True):
    """A call that was answered whole: its last row is made with others, before the answer goes."""

    books: "CallRecorder"
    tally: CallAccount
    sums: CallTotals
    state: State
    now: float
    """When it ended, on the books' clock."""

    def row(self) -> FinalRow:
        """The row."""
        return self.tally.row(self.sums, self.state, 200, self.now)

    def told(self, row: FinalRow) -> None:
        """It was taken: those who are told of ends are told of this one."""
        self.books.told(row, self.tally)


class CallRecorder:
    """Writes them. `record` takes a row, and `settled` waits until all of them are on the disk.

    Both tell of their failures themselves, once in a while: a full disk fails every call. `ask`
    takes what makes the rows of requests, in place of `record`: who sends a request finds out
    whether its row is written. Where `settled` is waited for that is too late, and `record` takes
    the rows. `end` takes calls whose last row may be made and taken a little later.

    `baseline` is what calls on a lab are compared with; None where none is declared. `begin` is
    told of each call before its rows, `settle` of its end, `aside` then of what it was decided on.
    `wall` tells seconds since the epoch, `clock` those of `Call.started`.
    """

    def __init__(  # noqa: PLR0913 - one argument for each that is told
        self,
        record: Callable[[Row], None],
        log: Log,
        *,
        ask: Callable[[Opening], None] | None = None,
        end: Callable[[EndingCall], None] | None = None,
        settled: Callable[[], Awaitable[None]] | None = None,
        baseline: Callable[[str], Target | None] | None = None,
        begin: Callable[[Call], None] | None = None,
        settle: Callable[[FinalRow], None] | None = None,
        aside: Callable[[FinalRow, object], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._record = record
        self._log = log
        self._ask = None if settled is not None else ask
        self._end = end
        self._settled = settled
        self.waits = settled is not None
        """Whether `kept` may have to wait."""
        self._baseline = baseline
        self._begin = begin
        self._settle = settle
        self._aside = aside
        self._clock = clock
        self._wall = wall
        self._warned: set[str] = set()

    def open(self, call: Call, config: str) -> CallAccount:
        """The account of a call."""
        if self._begin is not None:
            self._begin(call)
        return CallAccount(call, config)

    def decided(self, tally: CallAccount, decision: Decision) -> None:
        """A call goes to a lab."""
        tally.decision = decision
        if self._baseline is not None:
            tally.compared, tally.baseline = True, self._baseline(decision.lab)

    def dialling(
        self, tally: CallAccount, target: Target, account: Account
    ) -> Awaitable[None] | None:
        """Before each request: so that a crash leaves on record what it may be billed for.

        What is returned is to be waited for. Raises ProblemError where it cannot be written.
        """
        try:
            opening = tally.dial(target, account, self._wall(), self._clock())
            if self._ask is not None:
                self._ask(opening)
            else:
                self._record(opening())
        except OSError:
            tally.unsent()
            raise unwritten() from None
        return None if self._settled is None else self._on_disk(self._settled)

    def extended(
        self, extending: Extending, tally: CallAccount, target: Target, account: Account
    ) -> Awaitable[None] | None:
        """As `dialling`; one more request of a call that may have been billed must pass again."""
        if not tally.spent:
            return self.dialling(tally, target, account)

        async def more() -> None:
            await extending(target)
            if (recorded := self.dialling(tally, target, account)) is not None:
                await recorded

        return more()

    def failing(self, tally: CallAccount, problem: Problem) -> None:
        """After each request that gave no answer."""
        if problem.kind == "ledger" and tally.open:  # it waited for its row, and was not sent
            tally.unsent()
            return
        row = tally.fail(problem, self._wall(), self._clock())
        if row is not None:
            self._write(row)

    def close(
        self,
        tally: CallAccount,
        state: State,
        status: int,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> FinalRow:
        """The one place where a call becomes its final entry; but for those of `end`."""
        sums, now = tally.end(), self._clock()
        entry = tally.row(sums, state, status, now, problem=problem, aborted_by=aborted_by)
        if sums.cost is None:
            self._look(tally)
        self._write(entry)
        self.told(entry, tally)
        return entry

    def end(self, tally: CallAccount, state: State = "settled") -> FinalRow | CallTotals:
        """As `close` of a call that was answered whole. What it comes to; its row may come later.

        It comes before anything that is sent: many that are made together take half as long.
        """
        if self._end is None:
            return self.close(tally, state, 200)
        sums, now = tally.end(), self._clock()
        if sums.cost is None:
            self._look(tally)
        self._end(EndingCall(self, tally, sums, state, now))
        return sums

    def told(self, entry: FinalRow, tally: CallAccount) -> None:
        """Tell of a final entry that was taken."""
        if self._settle is not None:
            self._settle(entry)
        if self._aside is not None:
            self._aside(entry, tally.basis)

    async def kept(self) -> None:
        """The final entry is on the disk, where that is asked for."""
        if self._settled is None:
            return
        with suppress(OSError):  # it was written, and whoever writes tells that it is not on disk
            await self._settled()

    def _write(self, row: Row) -> None:
        """Write what has happened: nothing can be refused any more."""
        try:
            self._record(row)
        except OSError as error:
            self._log("ledger", call=row.id, error=where(error))

    async def _on_disk(self, settled: Callable[[], Awaitable[None]]) -> None:
        try:
            await settled()
        except OSError:
            raise unwritten() from None

    def _look(self, tally: CallAccount) -> None:
        """Say once of each model what is not known of its price, where a cost is unknown."""
        if (lacking := tally.unpriced()) is None:
            return
        target = tally.target
        model = "" if target is None else f"{target.provider.name}/{target.model}"
        text = f"{model} {lacking}"
        if text not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(text)
            self._log("unpriced", model=model, lacks=lacking)
