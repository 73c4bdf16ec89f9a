"""Write the ledger rows of calls: one before each request, one for a failure, one at the end."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from gateway.cache.coalescing import Subscriber
from gateway.core.call import Call
from gateway.core.call_accounting import (
    AttemptAccount,
    CallAccount,
    CallTotals,
    FinalRowMaker,
    IntentRowMaker,
)
from gateway.core.decision import Decision
from gateway.core.errors import Problem, ledger_unwritable
from gateway.core.ledger_rows import CallState, FinalRow, Row
from gateway.core.rate_limits import RateLimits
from gateway.core.target import Account, Target
from gateway.limits.limiter import Reservation
from gateway.telemetry.log import Log, locate_error
from gateway.upstream.upstream_request import UpstreamResponse

_MAX_WARNED_MODELS = 1000
"""The number of models that the log warns about: clients choose some of their names."""


class RecordedAccount(CallAccount, kw_only=True):
    """The account of a call whose rows go to the ledger.

    Upstream reports each attempt to it. The response settles it once, with the last byte.
    """

    recorder: "CallRecorder"
    reservation: Reservation | None = None
    """The reservation of the limiter; None if no limit counts the call."""
    rate_limits: RateLimits | None = None
    """The rate limits that the client may see; None if there are none."""
    subscriber: Subscriber[UpstreamResponse] | None = None
    """The place of the call on a flight; None if the call shares no answer."""
    is_streaming: bool = False
    """True if the response is a stream: it settles the account and ends the subscription."""
    aborted_by: str = "client"
    """The party that ends the call, if the call is cancelled."""
    reserves_again: bool = False
    """True if the call asks for a second answer: each attempt at it has its own reservation."""

    async def attempt_started(
        self, target: Target, account: Account, *, is_parallel: bool = False
    ) -> AttemptAccount:
        """Write the row of an attempt before its request is sent, and wait until it is safe.

        A reservation covers one attempt that is billed, so it is extended if an earlier attempt may
        be billed too. Raises ProblemError if the request must not be sent.
        """
        if self.reservation is not None and (
            self.reserves_again
            or (self.attempts and self.has_wasted_cost)
            or (is_parallel and not self._has_parallel_attempt)
        ):
            await self.reservation.extend(target)
        recorder = self.recorder
        attempt = recorder.record_attempt(self, target, account, is_parallel=is_parallel)
        if recorder.waits_for_sync:
            try:
                await recorder.wait_for_disk()
            except OSError:
                self.cancel_attempt(attempt)
                raise ledger_unwritable() from None
        return attempt

    def attempt_failed(self, attempt: AttemptAccount, problem: Problem) -> None:
        """Write the row of an attempt that gave no answer."""
        self.recorder.record_failure(self, attempt, problem)

    def adopt_decision(self, decision: Decision) -> None:
        """Follow another decision from now on, for rows and for what is reserved."""
        self.recorder.note_decision(self, decision)
        if self.reservation is not None:
            self.reservation = replace(self.reservation, decision=decision)

    def mark_ended(self, attempt: AttemptAccount) -> None:
        """Note that the answer of an attempt is there, while the gateway waits for another."""
        attempt.ended_at = self.recorder.read_clock()

    def settle(
        self,
        state: CallState,
        status: int,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> FinalRow:
        """Write the final row; the limiter then settles what the call has reserved."""
        return self.recorder.close(self, state, status, problem=problem, aborted_by=aborted_by)

    def settle_deferred(self, state: CallState = "settled") -> FinalRow | CallTotals:
        """Settle a call that was answered whole; its row may come a little later."""
        return self.recorder.close_deferred(self, state)

    def settle_aborted(self, status: int) -> FinalRow:
        """Settle a call that was cancelled; `status` is what its client saw if it did not leave."""
        if self.aborted_by.startswith("client"):
            return self.settle("aborted", 499, aborted_by=self.aborted_by)
        return self.settle("aborted", status, problem="draining", aborted_by=self.aborted_by)

    async def wait_for_sync(self) -> None:
        """Wait until the final row is on the disk, if required; the answer goes out anyway."""
        if self.recorder.waits_for_sync:
            await self.recorder.wait_for_sync()

    @property
    def _has_parallel_attempt(self) -> bool:
        return any(attempt.is_parallel for attempt in self.attempts)


class CallRecorder:
    """The writer of the rows of calls.

    `record` takes a row, and `sync_waiter` waits until all rows are on the disk. Both report their
    failures themselves, once in a while: a full disk fails every call.

    `record_opening` takes a function that makes the row of a request, in place of `record`: the
    sender of the request finds out if the row is written. With a `sync_waiter` that is too late,
    and `record` takes these rows. `record_ending` takes functions that make the last row of a call
    and announce it, once it was taken: both may happen a little later.

    `baseline` returns the target that calls of a lab are compared with; None if none is declared.
    `on_begin` gets each call before its rows. `on_end` gets its final row, and `on_decision` then
    gets what makes its decision record. `wall` is seconds since the epoch, and `clock` is that of
    `Call.started_at`.
    """

    def __init__(  # noqa: PLR0913 - one argument for each consumer
        self,
        record: Callable[[Row], None],
        log: Log,
        *,
        record_opening: Callable[[IntentRowMaker], None] | None = None,
        record_ending: Callable[[FinalRowMaker, Callable[[FinalRow], None]], None] | None = None,
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
        """True if rows must be on the disk before a call goes on."""
        self._baseline = baseline
        self._on_begin = on_begin
        self._on_end = on_end
        self._on_decision = on_decision
        self._clock = clock
        self._wall = wall
        self._warned_texts: set[str] = set()
        self._open_accounts: dict[str, RecordedAccount] = {}
        """Accounts of calls that have no final row yet, by the id of the call."""

    def open(self, call: Call, config_version: str) -> RecordedAccount:
        """Open the account of a call."""
        if self._on_begin is not None:
            self._on_begin(call)
        account = self._open_accounts[call.id] = RecordedAccount(
            call, config_version, recorder=self
        )
        return account

    def read_clock(self) -> float:
        """Return the seconds on the clock of `Call.started_at`."""
        return self._clock()

    def find_open(self, call: Call) -> RecordedAccount | None:
        """Find the account of a call that has no final row yet."""
        return self._open_accounts.get(call.id)

    def note_decision(self, call_account: CallAccount, decision: Decision) -> None:
        """Note the decision of a call, and the target that the call is compared with."""
        call_account.decision = decision
        if self._baseline is not None:
            call_account.compares_baseline, call_account.baseline = (
                True,
                self._baseline(decision.lab),
            )

    def record_attempt(
        self,
        call_account: CallAccount,
        target: Target,
        account: Account,
        *,
        is_parallel: bool = False,
    ) -> AttemptAccount:
        """Write the row of an attempt, so that a crash leaves on record what may be billed.

        Raises ProblemError if the row cannot be written.
        """
        attempt = call_account.start_attempt(
            target, account, self._wall(), self._clock(), is_parallel=is_parallel
        )
        try:
            if self._record_opening is not None:
                self._record_opening(partial(call_account.make_intent_row, attempt))
            else:
                self._record(call_account.make_intent_row(attempt))
        except OSError:
            call_account.cancel_attempt(attempt)
            raise ledger_unwritable() from None
        return attempt

    def record_failure(
        self, call_account: CallAccount, attempt: AttemptAccount, problem: Problem
    ) -> None:
        """Write the row of an attempt that gave no answer."""
        if problem.kind == "ledger" and attempt.is_open:  # it waited for its row, and was not sent
            call_account.cancel_attempt(attempt)
            return
        row = call_account.fail_attempt(attempt, problem, self._wall(), self._clock())
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
        """Write the final row of a call. This is the one place for it, besides `close_deferred`."""
        self._open_accounts.pop(call_account.call.id, None)
        totals, ended_at = call_account.close(), self._clock()
        row = call_account.make_final_row(
            totals, state, status, ended_at, problem=problem, aborted_by=aborted_by
        )
        if totals.cost is None:
            self._warn_unpriced(call_account)
        self._write_row(row)
        self._announce(call_account, row)
        return row

    def close_deferred(
        self, call_account: CallAccount, state: CallState = "settled"
    ) -> FinalRow | CallTotals:
        """Close a call that was answered whole, as `close` does; its row may come later.

        Return the totals, or the row if it is written now. The row is made before anything is sent:
        many rows that are made together take half as long.
        """
        if self._record_ending is None:
            return self.close(call_account, state, 200)
        self._open_accounts.pop(call_account.call.id, None)
        totals, ended_at = call_account.close(), self._clock()
        if totals.cost is None:
            self._warn_unpriced(call_account)
        self._record_ending(
            partial(call_account.make_final_row, totals, state, 200, ended_at),
            partial(self._announce, call_account),
        )
        return totals

    def _announce(self, call_account: CallAccount, row: FinalRow) -> None:
        """Announce a final row that was taken."""
        if self._on_end is not None:
            self._on_end(row)
        if self._on_decision is not None:
            self._on_decision(row, call_account.make_decision_record)

    async def wait_for_disk(self) -> None:
        """Wait until all rows are on the disk, if that is required. Raises OSError."""
        if self._sync_waiter is not None:
            await self._sync_waiter()

    async def wait_for_sync(self) -> None:
        """Wait until the final row is on the disk, if required; the answer goes out anyway."""
        with suppress(OSError):  # the row is written; the writer reports that it is not on disk
            await self.wait_for_disk()

    def _write_row(self, row: Row) -> None:
        """Write a row of something that has happened.

        A failure is only logged: nothing can be refused any more.
        """
        try:
            self._record(row)
        except OSError as error:
            self._log("ledger", call=row.id, error=locate_error(error))

    def _warn_unpriced(self, call_account: CallAccount) -> None:
        """Log once for each model what is unknown of its price, if a cost is unknown."""
        if (missing_price := call_account.explain_missing_price()) is None:
            return
        target = call_account.target
        model = "" if target is None else f"{target.provider.name}/{target.model}"
        text = f"{model} {missing_price}"
        if text not in self._warned_texts and len(self._warned_texts) < _MAX_WARNED_MODELS:
            self._warned_texts.add(text)
            self._log("unpriced", model=model, lacks=missing_price)
