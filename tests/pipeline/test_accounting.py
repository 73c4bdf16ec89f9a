"""Test the rows that calls leave in the ledger, and calls while the ledger cannot be written."""

import errno
from collections.abc import Callable
from decimal import Decimal
from typing import cast

import msgspec
import pytest

from gateway.core.call import Call
from gateway.core.call_accounting import AttemptAccount, FinalRowMaker, IntentRowMaker
from gateway.core.decision import Decision
from gateway.core.errors import Problem, ProblemError, ledger_unwritable
from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow, Row
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import Account, Provider, Target
from gateway.core.usage import Usage
from gateway.limits.limiter import Reservation
from gateway.pipeline.accounting import CallRecorder, RecordedAccount

CALL = Call(
    id="tg-1", dialect="openai-chat", operation="generate", body=b"{}", received_at=1e9, started_at=50.0
)  # fmt: skip
PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(2)), version="v1")
TARGET = Target(provider=Provider(name="p", urls={}), model="m", price=PRICE)
UNPRICED = Target(provider=Provider(name="p", urls={}), model="new")
DECISION = Decision(lab="l", tier="fast", source="default")
FAILED = Problem(kind="upstream_error", message="m", upstream_status=500)


class FakeLedger:
    """A ledger that can be full, and whose disk can refuse."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.log: list[tuple[str, dict[str, object]]] = []
        self.full = False
        self.broken = False
        self.waits = 0
        self.settled_calls: list[FinalRow] = []

    def record(self, row: Row) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device: my secret folder")
        self.rows.append(row)

    async def wait_for_disk(self) -> None:
        self.waits += 1
        if self.broken:
            raise OSError(errno.EIO, "my secret folder")

    def make_recorder(
        self,
        *,
        syncs_each: bool = False,
        baseline: Callable[[str], Target | None] | None = None,
        record_opening: Callable[[IntentRowMaker], None] | None = None,
        record_ending: Callable[[FinalRowMaker, Callable[[FinalRow], None]], None] | None = None,
    ) -> CallRecorder:
        return CallRecorder(
            self.record,
            lambda event, **fields: self.log.append((event, fields)),
            record_opening=record_opening,
            record_ending=record_ending,
            on_end=self.settled_calls.append,
            sync_waiter=self.wait_for_disk if syncs_each else None,
            baseline=baseline,
            clock=lambda: 51.0,
            wall=lambda: 1e9 + 1,
        )


MAIN = Account("main", "s")


def open_account(recorder: CallRecorder) -> RecordedAccount:
    account = recorder.open(CALL, "c1")
    recorder.note_decision(account, DECISION)
    return account


async def start_attempt(
    recorder: CallRecorder, target: Target = TARGET
) -> tuple[RecordedAccount, AttemptAccount]:
    account = open_account(recorder)
    return account, await account.attempt_started(target, MAIN)


async def test_the_recorder_writes_a_row_per_request_failure_and_call() -> None:
    ledger = FakeLedger()
    recorder = ledger.make_recorder()
    account, attempt = await start_attempt(recorder)
    account.attempt_failed(attempt, FAILED)
    account.attempt_failed(attempt, FAILED)  # reported twice
    await account.attempt_started(TARGET, MAIN)
    account.usage, account.is_complete = Usage(input=1, output=1), True
    entry = recorder.close(account, "settled", 200)
    await recorder.wait_for_sync()
    kinds = [type(row) for row in ledger.rows]
    assert kinds == [IntentRow, AttemptRow, IntentRow, FinalRow]
    assert ledger.rows[-1] is entry
    assert (entry.state, entry.attempts, ledger.log, ledger.waits) == ("settled", 2, [], 0)


@pytest.mark.parametrize("has_usage", [True, False])
async def test_both_ways_of_closing_a_call_write_the_same_row(*, has_usage: bool) -> None:
    """Both ways of writing the final row give the same row, with usage known or not; a second end
    raises.
    """
    ledger, endings = FakeLedger(), list[tuple[FinalRowMaker, Callable[[FinalRow], None]]]()
    immediate = ledger.make_recorder()
    deferred = ledger.make_recorder(record_ending=lambda *ending: endings.append(ending))
    rows = []
    for recorder in (immediate, deferred):
        account, _ = await start_attempt(recorder)
        account.usage, account.is_complete = (Usage(input=1, output=1) if has_usage else None), True
        totals = recorder.close_deferred(account)
        with pytest.raises(RuntimeError):
            recorder.close_deferred(account)
        if recorder is deferred:
            assert len(ledger.settled_calls) == 1
            make_row, on_taken = endings.pop()
            row = make_row()
            ledger.record(row)
            on_taken(row)
        rows.append((ledger.rows[-1], totals.cost, totals.estimate))
    assert rows[0] == rows[1]
    assert rows[0][0] in ledger.settled_calls
    other_account, _ = await start_attempt(immediate)
    other_account.usage, other_account.is_complete = (
        (Usage(input=1, output=1) if has_usage else None),
        True,
    )
    entry = immediate.close(other_account, "settled", 200)
    assert rows[0] == (entry, entry.cost, entry.estimate)
    assert ledger.settled_calls == [entry] * 3


async def test_a_request_is_not_sent_if_its_row_cannot_be_written() -> None:
    """The client does not learn where the ledger is."""
    ledger = FakeLedger()
    ledger.full = True
    with pytest.raises(ProblemError, match="calls no provider") as caught:
        await start_attempt(ledger.make_recorder())
    assert caught.value.problem.kind == "ledger"
    assert ledger.log == []  # the ledger writer logs it, and not once for each call
    assert "secret" not in f"{caught.value.problem}"


async def test_a_request_that_was_not_sent_is_no_attempt() -> None:
    """If an intent row cannot be written, the final row says that the gateway asked no provider."""
    ledger = FakeLedger()
    recorder = ledger.make_recorder()
    account = recorder.open(CALL, "c1")
    ledger.full = True
    with pytest.raises(ProblemError):
        await account.attempt_started(TARGET, MAIN)
    assert account.attempts == []
    ledger.full = False
    entry = recorder.close(account, "refused", 503, problem="ledger")
    assert [type(row) for row in ledger.rows] == [FinalRow]
    assert (entry.attempts, entry.provider, entry.cost, entry.reserved) == (
        0,
        None,
        Decimal(0),
        None,
    )


async def test_a_request_whose_batched_row_failed_is_no_attempt() -> None:
    """A request leaves together with its row or not at all; the sender notices the missing row."""
    ledger, openings = FakeLedger(), list[IntentRowMaker]()
    recorder = ledger.make_recorder(record_opening=openings.append)
    account, attempt = await start_attempt(recorder)
    account.attempt_failed(attempt, ledger_unwritable().problem)
    account.attempt_failed(attempt, ledger_unwritable().problem)  # reported twice
    assert ([make_row().attempt for make_row in openings], ledger.rows) == ([1], [])
    entry = recorder.close(account, "refused", 503, problem="ledger")
    assert (entry.attempts, entry.provider, entry.cost, entry.reserved) == (
        0,
        None,
        Decimal(0),
        None,
    )
    assert ledger.rows == [entry]


async def test_rows_that_must_be_on_disk_are_not_batched() -> None:
    ledger, openings = FakeLedger(), list[IntentRowMaker]()
    await start_attempt(ledger.make_recorder(syncs_each=True, record_opening=openings.append))
    assert (openings, len(ledger.rows), ledger.waits) == ([], 1, 1)


async def test_a_row_that_cannot_be_written_after_the_fact_is_logged() -> None:
    ledger = FakeLedger()
    recorder = ledger.make_recorder()
    account, attempt = await start_attempt(recorder)
    ledger.full = True
    account.attempt_failed(attempt, FAILED)
    assert recorder.close(account, "failed", 502).cost == 0
    assert [fields["call"] for _, fields in ledger.log] == ["tg-1", "tg-1"]


async def test_a_request_waits_until_its_row_is_on_the_disk() -> None:
    ledger = FakeLedger()
    recorder = ledger.make_recorder(syncs_each=True)
    account = open_account(recorder)
    starting = account.attempt_started(TARGET, MAIN)
    assert ledger.waits == 0
    await starting
    assert ledger.waits == 1
    recorder.close(account, "aborted", 499)
    await recorder.wait_for_sync()
    assert ledger.waits == 2


async def test_a_failing_disk_stops_a_request_but_no_answer() -> None:
    ledger = FakeLedger()
    ledger.broken = True
    recorder = ledger.make_recorder(syncs_each=True)
    account = open_account(recorder)
    with pytest.raises(ProblemError, match="calls no provider"):
        await account.attempt_started(TARGET, MAIN)
    assert account.attempts == []
    recorder.close(account, "refused", 503)
    await recorder.wait_for_sync()
    assert ledger.log == []


async def test_a_missing_price_is_logged_once_per_model() -> None:
    ledger = FakeLedger()
    recorder = ledger.make_recorder()
    other = msgspec.structs.replace(UNPRICED, model="newer")
    for target in (UNPRICED, UNPRICED, other, TARGET):
        account, _ = await start_attempt(recorder, target)
        account.usage, account.is_complete = Usage(input=1, output=1), True
        recorder.close(account, "settled", 200)
    assert ledger.log == [
        ("unpriced", {"model": "p/new", "lacks": "no price"}),
        ("unpriced", {"model": "p/newer", "lacks": "no price"}),
    ]


@pytest.mark.parametrize("baseline_target", [TARGET, None])
async def test_a_final_row_has_the_baseline_of_its_lab(baseline_target: Target | None) -> None:
    """The baseline is that of the call's lab; a lab may have none."""
    ledger = FakeLedger()
    recorder = ledger.make_recorder(
        baseline=lambda lab: baseline_target if lab == "l" else UNPRICED
    )
    account, _ = await start_attempt(recorder, UNPRICED)
    account.usage, account.is_complete = Usage(input=10, output=1), True
    entry = recorder.close(account, "settled", 200)
    assert entry.baseline == (None if baseline_target is None else Decimal("0.000012"))


class FakeReservation:
    """A reservation of the limiter, which can refuse to extend it."""

    def __init__(self) -> None:
        self.extended: list[str] = []
        self.spent = False

    async def extend(self, target: Target) -> None:
        if self.spent:
            raise ProblemError(Problem(kind="budget", message="spent"))
        self.extended.append(target.model)


LOST = msgspec.structs.replace(FAILED, spent="maybe")


@pytest.mark.parametrize(("problem", "extended"), [(FAILED, []), (LOST, ["m"])])
async def test_an_attempt_after_one_that_may_be_billed_extends_the_reservation(
    problem: Problem, extended: list[str]
) -> None:
    account, attempt = await start_attempt(FakeLedger().make_recorder())
    reservation = FakeReservation()
    account.reservation = cast("Reservation", reservation)
    account.attempt_failed(attempt, problem)
    await account.attempt_started(TARGET, MAIN)
    assert reservation.extended == extended


async def test_a_parallel_attempt_extends_the_reservation_once() -> None:
    """The provider does not bill the failed parallel attempt, so its replacement reserves nothing
    more.
    """
    account, _ = await start_attempt(FakeLedger().make_recorder())
    reservation = FakeReservation()
    account.reservation = cast("Reservation", reservation)
    attempt = await account.attempt_started(UNPRICED, MAIN, is_parallel=True)
    account.attempt_failed(attempt, FAILED)
    await account.attempt_started(UNPRICED, MAIN, is_parallel=True)
    assert reservation.extended == ["new"]


async def test_an_attempt_whose_reservation_is_refused_is_not_sent() -> None:
    ledger = FakeLedger()
    account, _ = await start_attempt(ledger.make_recorder())
    reservation = FakeReservation()
    account.reservation = cast("Reservation", reservation)
    reservation.spent = True
    with pytest.raises(ProblemError, match="spent"):
        await account.attempt_started(TARGET, MAIN, is_parallel=True)
    assert [type(row) for row in ledger.rows] == [IntentRow]
    assert len(account.attempts) == 1


async def test_the_final_row_describes_the_attempt_that_answered() -> None:
    recorder = FakeLedger().make_recorder()
    account, first = await start_attempt(recorder)
    second = await account.attempt_started(UNPRICED, MAIN, is_parallel=True)
    account.attempt_failed(first, FAILED)
    account.attempt_finished(second)
    row = account.settle("settled", 200)
    assert (row.model, row.attempts) == ("new", 2)


async def test_an_account_is_open_until_its_final_row() -> None:
    recorder = FakeLedger().make_recorder()
    account, _ = await start_attempt(recorder)
    assert recorder.find_open(CALL) is account
    account.settle("settled", 200)
    assert recorder.find_open(CALL) is None


@pytest.mark.parametrize(
    ("aborted_by", "expected"),
    [
        ("client", (499, None, "client")),
        ("drain", (503, "draining", "drain")),
        ("timeout", (503, "draining", "timeout")),
    ],
)
async def test_the_row_of_a_cancelled_call_says_who_ended_it(
    aborted_by: str, expected: tuple[int, str | None, str]
) -> None:
    account, _ = await start_attempt(FakeLedger().make_recorder())
    account.aborted_by = aborted_by
    row = account.settle_aborted(503)
    assert (row.state, row.status, row.problem, row.aborted_by) == ("aborted", *expected)
