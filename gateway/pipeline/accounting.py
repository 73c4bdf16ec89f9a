"""What calls leave in the ledger: a row before each request, one of a failure, one at the end."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import Struct

from gateway.core.call import Call
from gateway.core.call_accounting import CallAccount, CallTotals, IntentRowMaker
from gateway.core.decision import Decision
from gateway.core.errors import Problem, ledger_unwritable
from gateway.core.ledger_rows import CallState, FinalRow, Row
from gateway.core.target import Account, Target
from gateway.telemetry.log import Log, locate_error

_MAX_WARNED_MODELS = 1000
"""Models that the log tells of: clients choose some of their names."""

type ExtendReservation = Callable[[Target], Awaitable[None]]
"""Lets a call pass once more, for a request to a target. Raises ProblemError."""


class EndingCall(Struct, frozen=True):
    """A call that was answered whole: its last row is made with others, before the answer goes."""

    recorder: "CallRecorder"
    call_account: CallAccount
    totals: CallTotals
    state: CallState
    ended_at: float
    """When it ended, on the books' clock."""

    def make_final_row(self) -> FinalRow:
        """The row."""
        return self.call_account.make_final_row(self.totals, self.state, 200, self.ended_at)

    def on_row_taken(self, row: FinalRow) -> None:
        """It was taken: those who are told of ends are told of this one."""
        self.recorder.announce(row, self.call_account)


class CallRecorder:
    """Writes them. `record` takes a row, and `sync_waiter` waits until all of them are on the disk.

    Both tell of their failures themselves, once in a while: a full disk fails every call.
    `record_opening` takes what makes the rows of requests, in place of `record`: who sends a
    request finds out whether its row is written. Where `sync_waiter` is waited for that is too
    late, and `record` takes the rows. `close_deferred` takes calls whose last row may be made and
    taken a little later.

    `baseline` is what calls on a lab are compared with; None where none is declared. `on_begin` is
    told of each call before its rows, `on_end` of its end, `on_decision` then of what it was
    decided on. `wall` tells seconds since the epoch, `clock` those of `Call.started`.
    """

    def __init__(  # noqa: PLR0913 - one argument for each that is told
        self,
        record: Callable[[Row], None],
        log: Log,
        *,
        record_opening: Callable[[IntentRowMaker], None] | None = None,
        record_ending: Callable[[EndingCall], None] | None = None,
        sync_waiter: Callable[[], Awaitable[None]] | None = None,
        baseline: Callable[[str], Target | None] | None = None,
        on_begin: Callable[[Call], None] | None = None,
        on_end: Callable[[FinalRow], None] | None = None,
        on_decision: Callable[[FinalRow, object], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._record = record
        self._log = log
        self._record_opening = None if sync_waiter is not None else record_opening
        self._record_ending = record_ending
        self._sync_waiter = sync_waiter
        self.waits_for_sync = sync_waiter is not None
        """Whether `wait_for_sync` may have to wait."""
        self._baseline = baseline
        self._on_begin = on_begin
        self._on_end = on_end
        self._on_decision = on_decision
        self._clock = clock
        self._wall = wall
        self._warned_texts: set[str] = set()

    def open(self, call: Call, config_version: str) -> CallAccount:
        """The account of a call."""
        if self._on_begin is not None:
            self._on_begin(call)
        return CallAccount(call, config_version)

    def note_decision(self, call_account: CallAccount, decision: Decision) -> None:
        """A call goes to a lab."""
        call_account.decision = decision
        if self._baseline is not None:
            call_account.compares_baseline, call_account.baseline = (
                True,
                self._baseline(decision.lab),
            )

    def record_attempt(
        self, call_account: CallAccount, target: Target, account: Account
    ) -> Awaitable[None] | None:
        """Before each request: so that a crash leaves on record what it may be billed for.

        What is returned is to be waited for. Raises ProblemError where it cannot be written.
        """
        try:
            make_intent_row = call_account.start_attempt(
                target, account, self._wall(), self._clock()
            )
            if self._record_opening is not None:
                self._record_opening(make_intent_row)
            else:
                self._record(make_intent_row())
        except OSError:
            call_account.cancel_attempt()
            raise ledger_unwritable() from None
        return None if self._sync_waiter is None else self._sync_or_refuse(self._sync_waiter)

    def extend_and_record(
        self, extend: ExtendReservation, call_account: CallAccount, target: Target, account: Account
    ) -> Awaitable[None] | None:
        """As `record_attempt`; a call that may have been billed must pass again first."""
        if not call_account.has_wasted_cost:
            return self.record_attempt(call_account, target, account)

        async def extend_then_record() -> None:
            await extend(target)
            if (sync := self.record_attempt(call_account, target, account)) is not None:
                await sync

        return extend_then_record()

    def record_failure(self, call_account: CallAccount, problem: Problem) -> None:
        """After each request that gave no answer."""
        if (
            problem.kind == "ledger" and call_account.has_open_attempt
        ):  # it waited for its row, and was not sent
            call_account.cancel_attempt()
            return
        row = call_account.fail_attempt(problem, self._wall(), self._clock())
        if row is not None:
            self._write_row(row)

    def close(
        self,
        call_account: CallAccount,
        state: CallState,
        status: int,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> FinalRow:
        """The one place where a call becomes its final entry; but for those of `close_deferred`."""
        totals, ended_at = call_account.close(), self._clock()
        row = call_account.make_final_row(
            totals, state, status, ended_at, problem=problem, aborted_by=aborted_by
        )
        if totals.cost is None:
            self._warn_unpriced(call_account)
        self._write_row(row)
        self.announce(row, call_account)
        return row

    def close_deferred(
        self, call_account: CallAccount, state: CallState = "settled"
    ) -> FinalRow | CallTotals:
        """As `close` of a call that was answered whole. What it comes to; its row may come later.

        It comes before anything that is sent: many that are made together take half as long.
        """
        if self._record_ending is None:
            return self.close(call_account, state, 200)
        totals, ended_at = call_account.close(), self._clock()
        if totals.cost is None:
            self._warn_unpriced(call_account)
        self._record_ending(EndingCall(self, call_account, totals, state, ended_at))
        return totals

    def announce(self, row: FinalRow, call_account: CallAccount) -> None:
        """Tell of a final entry that was taken."""
        if self._on_end is not None:
            self._on_end(row)
        if self._on_decision is not None:
            self._on_decision(row, call_account.make_decision_record)

    async def wait_for_sync(self) -> None:
        """The final entry is on the disk, where that is asked for."""
        if self._sync_waiter is None:
            return
        with suppress(OSError):  # it was written, and whoever writes tells that it is not on disk
            await self._sync_waiter()

    def _write_row(self, row: Row) -> None:
        """Write what has happened: nothing can be refused any more."""
        try:
            self._record(row)
        except OSError as error:
            self._log("ledger", call=row.id, error=locate_error(error))

    async def _sync_or_refuse(self, wait: Callable[[], Awaitable[None]]) -> None:
        try:
            await wait()
        except OSError:
            raise ledger_unwritable() from None

    def _warn_unpriced(self, call_account: CallAccount) -> None:
        """Say once of each model what is not known of its price, where a cost is unknown."""
        if (missing_price := call_account.explain_missing_price()) is None:
            return
        target = call_account.target
        model = "" if target is None else f"{target.provider.name}/{target.model}"
        text = f"{model} {missing_price}"
        if text not in self._warned_texts and len(self._warned_texts) < _MAX_WARNED_MODELS:
            self._warned_texts.add(text)
            self._log("unpriced", model=model, lacks=missing_price)
