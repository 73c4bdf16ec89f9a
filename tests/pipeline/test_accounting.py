"""Test the rows that calls leave in the ledger, and calls while the ledger cannot be written."""

import errno
from collections.abc import Callable
from decimal import Decimal
from typing import cast

import msgspec
import pytest

from gateway.core.call import Call
from gateway.core.call_accounting import AttemptAccount, IntentRowMaker
from gateway.core.decision import Decision
from gateway.core.errors import Problem, ProblemError, ledger_unwritable
from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow, Row
from gateway.core.price import Price, Rates
from gateway.core.target import Account, Provider, Target
from gateway.core.usage import Usage
from gateway.limits.limiter import Reservation
from gateway.pipeline.accounting import CallRecorder, EndingCall, RecordedAccount

CALL = Call(
    id="tg-1", dialect="openai-chat", operation="generate", body=b"{}", received_at=1e9, started_at=50.0
)  # fmt: skip
PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(2)), version="v1")
TARGET = Target(provider=Provider(name="p", urls={}), model="m", price=PRICE)
UNPRICED = Target(provider=Provider(name="p", urls={}), model="new")
DECISION = Decision(lab="l", tier="fast", source="default")
FAILED = Problem(kind="upstream_error", message="m", upstream_status=500)


class Ledger:
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

    async def settled(self) -> None:
        self.waits += 1
        if self.broken:
            raise OSError(errno.EIO, "my secret folder")

    def books(
        self,
        *,
        each: bool = False,
        baseline: Callable[[str], Target | None] | None = None,
        ask: Callable[[IntentRowMaker], None] | None = None,
        end: Callable[[EndingCall], None] | None = None,
    ) -> CallRecorder:
        return CallRecorder(
            self.record,
            lambda event, **fields: self.log.append((event, fields)),
            record_opening=ask,
            record_ending=end,
            on_end=self.settled_calls.append,
            sync_waiter=self.settled if each else None,
            baseline=baseline,
            clock=lambda: 51.0,
            wall=lambda: 1e9 + 1,
        )


MAIN = Account("main", "s")


def open_account(books: CallRecorder) -> RecordedAccount:
    account = books.open(CALL, "c1")
    books.note_decision(account, DECISION)
    return account


async def dial(
    books: CallRecorder, target: Target = TARGET
) -> tuple[RecordedAccount, AttemptAccount]:
    account = open_account(books)
    return account, await account.attempt_started(target, MAIN)


async def test_a_row_before_each_request_one_of_each_failure_and_one_at_the_end() -> None:
    ledger = Ledger()
    books = ledger.books()
    tally, attempt = await dial(books)
    tally.attempt_failed(attempt, FAILED)
    tally.attempt_failed(attempt, FAILED)  # reported twice
    await tally.attempt_started(TARGET, MAIN)
    tally.usage, tally.is_complete = Usage(input=1, output=1), True
    entry = books.close(tally, "settled", 200)
    await books.wait_for_sync()
    kinds = [type(row) for row in ledger.rows]
    assert kinds == [IntentRow, AttemptRow, IntentRow, FinalRow]
    assert ledger.rows[-1] is entry
    assert (entry.state, entry.attempts, ledger.log, ledger.waits) == ("settled", 2, [], 0)


@pytest.mark.parametrize("told", [True, False])
async def test_an_answered_call_has_the_same_row_whenever_it_is_made(*, told: bool) -> None:
    """Both ways of writing the final row give the same row, with usage known or not; a second end
    raises.
    """
    ledger, waiting = Ledger(), list[EndingCall]()
    at_once, books = ledger.books(), ledger.books(end=waiting.append)
    rows = []
    for one in (at_once, books):
        tally, _ = await dial(one)
        tally.usage, tally.is_complete = (Usage(input=1, output=1) if told else None), True
        sums = one.close_deferred(tally)
        with pytest.raises(RuntimeError):
            one.close_deferred(tally)
        if one is books:
            assert len(ledger.settled_calls) == 1
            ending = waiting.pop()
            row = ending.make_final_row()
            ledger.record(row)
            ending.on_row_taken(row)
        rows.append((ledger.rows[-1], sums.cost, sums.estimate))
    assert rows[0] == rows[1]
    assert rows[0][0] in ledger.settled_calls
    other, _ = await dial(at_once)
    other.usage, other.is_complete = (Usage(input=1, output=1) if told else None), True
    entry = at_once.close(other, "settled", 200)
    assert rows[0] == (entry, entry.cost, entry.estimate)
    assert ledger.settled_calls == [entry] * 3


async def test_what_cannot_be_written_is_not_sent() -> None:
    """The client does not learn where the ledger is."""
    ledger = Ledger()
    ledger.full = True
    with pytest.raises(ProblemError, match="nothing is sent") as caught:
        await dial(ledger.books())
    assert caught.value.problem.kind == "ledger"
    assert ledger.log == []  # the ledger writer logs it, and not once for each call
    assert "secret" not in f"{caught.value.problem}"


async def test_what_was_not_sent_is_no_attempt() -> None:
    """If an intent row cannot be written, the final row says that the gateway asked no provider."""
    ledger = Ledger()
    books = ledger.books()
    tally = books.open(CALL, "c1")
    ledger.full = True
    with pytest.raises(ProblemError):
        await tally.attempt_started(TARGET, MAIN)
    assert tally.attempts == []
    ledger.full = False
    entry = books.close(tally, "refused", 503, problem="ledger")
    assert [type(row) for row in ledger.rows] == [FinalRow]
    assert (entry.attempts, entry.provider, entry.cost, entry.reserved) == (
        0,
        None,
        Decimal(0),
        None,
    )


async def test_a_request_whose_row_waited_in_vain_is_no_attempt() -> None:
    """A request leaves together with its row or not at all; the sender notices the missing row."""
    ledger, asked = Ledger(), list[IntentRowMaker]()
    books = ledger.books(ask=asked.append)
    tally, attempt = await dial(books)
    tally.attempt_failed(attempt, ledger_unwritable().problem)
    tally.attempt_failed(attempt, ledger_unwritable().problem)  # reported twice
    assert ([opening().attempt for opening in asked], ledger.rows) == ([1], [])
    entry = books.close(tally, "refused", 503, problem="ledger")
    assert (entry.attempts, entry.provider, entry.cost, entry.reserved) == (
        0,
        None,
        Decimal(0),
        None,
    )
    assert ledger.rows == [entry]


async def test_where_rows_must_be_on_the_disk_none_waits_for_others() -> None:
    ledger, asked = Ledger(), list[IntentRowMaker]()
    await dial(ledger.books(each=True, ask=asked.append))
    assert (asked, len(ledger.rows), ledger.waits) == ([], 1, 1)


async def test_what_has_happened_is_told_although_it_cannot_be_written() -> None:
    ledger = Ledger()
    books = ledger.books()
    tally, attempt = await dial(books)
    ledger.full = True
    tally.attempt_failed(attempt, FAILED)
    assert books.close(tally, "failed", 502).cost == 0
    assert [fields["call"] for _, fields in ledger.log] == ["tg-1", "tg-1"]


async def test_a_request_waits_until_its_row_is_on_the_disk() -> None:
    ledger = Ledger()
    books = ledger.books(each=True)
    tally = open_account(books)
    waiting = tally.attempt_started(TARGET, MAIN)
    assert ledger.waits == 0
    await waiting
    assert ledger.waits == 1
    books.close(tally, "aborted", 499)
    await books.wait_for_sync()
    assert ledger.waits == 2


async def test_a_disk_that_refuses_stops_a_request_but_no_answer() -> None:
    ledger = Ledger()
    ledger.broken = True
    books = ledger.books(each=True)
    tally = open_account(books)
    with pytest.raises(ProblemError, match="nothing is sent"):
        await tally.attempt_started(TARGET, MAIN)
    assert tally.attempts == []
    books.close(tally, "refused", 503)
    await books.wait_for_sync()
    assert ledger.log == []


async def test_a_price_that_is_missing_is_said_once() -> None:
    ledger = Ledger()
    books = ledger.books()
    other = msgspec.structs.replace(UNPRICED, model="newer")
    for target in (UNPRICED, UNPRICED, other, TARGET):
        tally, _ = await dial(books, target)
        tally.usage, tally.is_complete = Usage(input=1, output=1), True
        books.close(tally, "settled", 200)
    assert ledger.log == [
        ("unpriced", {"model": "p/new", "lacks": "no price"}),
        ("unpriced", {"model": "p/newer", "lacks": "no price"}),
    ]


@pytest.mark.parametrize("found", [TARGET, None])
async def test_a_call_knows_its_baseline(found: Target | None) -> None:
    """The baseline is that of the call's lab; a lab may have none."""
    ledger = Ledger()
    books = ledger.books(baseline=lambda lab: found if lab == "l" else UNPRICED)
    tally, _ = await dial(books, UNPRICED)
    tally.usage, tally.is_complete = Usage(input=10, output=1), True
    entry = books.close(tally, "settled", 200)
    assert entry.baseline == (None if found is None else Decimal("0.000012"))


class Reserved:
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
    account, attempt = await dial(Ledger().books())
    reserved = Reserved()
    account.reservation = cast("Reservation", reserved)
    account.attempt_failed(attempt, problem)
    await account.attempt_started(TARGET, MAIN)
    assert reserved.extended == extended


async def test_a_parallel_attempt_extends_the_reservation_once() -> None:
    """The provider does not bill the failed parallel attempt, so its replacement reserves nothing
    more.
    """
    account, _ = await dial(Ledger().books())
    reserved = Reserved()
    account.reservation = cast("Reservation", reserved)
    attempt = await account.attempt_started(UNPRICED, MAIN, is_parallel=True)
    account.attempt_failed(attempt, FAILED)
    await account.attempt_started(UNPRICED, MAIN, is_parallel=True)
    assert reserved.extended == ["new"]


async def test_an_attempt_whose_reservation_is_refused_is_not_sent() -> None:
    ledger = Ledger()
    account, _ = await dial(ledger.books())
    reserved = Reserved()
    account.reservation = cast("Reservation", reserved)
    reserved.spent = True
    with pytest.raises(ProblemError, match="spent"):
        await account.attempt_started(TARGET, MAIN, is_parallel=True)
    assert [type(row) for row in ledger.rows] == [IntentRow]
    assert len(account.attempts) == 1


async def test_the_final_row_tells_of_the_attempt_that_answered() -> None:
    books = Ledger().books()
    account, first = await dial(books)
    second = await account.attempt_started(UNPRICED, MAIN, is_parallel=True)
    account.attempt_failed(first, FAILED)
    account.attempt_finished(second)
    row = account.settle("settled", 200)
    assert (row.model, row.attempts) == ("new", 2)


async def test_an_account_is_open_until_its_final_row() -> None:
    books = Ledger().books()
    account, _ = await dial(books)
    assert books.find_open(CALL) is account
    account.settle("settled", 200)
    assert books.find_open(CALL) is None


@pytest.mark.parametrize(
    ("aborted_by", "told"),
    [
        ("client", (499, None, "client")),
        ("drain", (503, "draining", "drain")),
        ("timeout", (503, "draining", "timeout")),
    ],
)
async def test_the_row_of_a_cancelled_call_says_who_ended_it(
    aborted_by: str, told: tuple[int, str | None, str]
) -> None:
    account, _ = await dial(Ledger().books())
    account.aborted_by = aborted_by
    row = account.settle_aborted(503)
    assert (row.state, row.status, row.problem, row.aborted_by) == ("aborted", *told)
