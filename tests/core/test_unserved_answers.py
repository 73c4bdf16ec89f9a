"""The accounting of an answer that the client does not get, as another one replaces it."""

from decimal import Decimal

import msgspec

from gateway.core.target import Account
from gateway.core.usage import Usage
from tests.core.test_call_accounting import (
    MAYBE_BILLED,
    OTHER,
    close_account,
    fail_request,
    open_account,
)


def test_an_answer_that_the_client_does_not_get_has_a_final_cost_and_its_own_time() -> None:
    """Its provider has counted it, so nothing of it stays reserved."""
    tally = open_account()
    (first,) = tally.attempts
    first.ended_at = 51.5
    second = tally.start_attempt(OTHER, Account("two", "s"), 1002.0, 52.0)
    unserved = msgspec.structs.replace(
        MAYBE_BILLED, name="escalated", has_ended=True, usage=Usage(input=500, output=10)
    )
    row = tally.fail_attempt(first, unserved, 1003.0, 53.0)
    assert row is not None
    assert (row.problem, row.at, row.duration) == ("escalated", 1000.5, 1.0)
    assert (row.cost, row.estimate, row.reserved) == (Decimal("0.00052"), Decimal(0), None)
    tally.attempt_finished(second)
    tally.usage, tally.is_complete = Usage(input=1_000_000, output=0), True
    tally.checked, tally.escalated = "empty", "fast"
    entry = close_account(tally, "settled", 200, 54.0)
    assert (entry.cost, entry.wasted, entry.reserved) == (Decimal("1.00052"), row.cost, None)
    assert (entry.checked, entry.escalated) == ("empty", "fast")


def test_an_answer_that_the_client_does_not_get_and_nobody_counted_keeps_its_bound() -> None:
    tally = open_account()
    unserved = msgspec.structs.replace(
        MAYBE_BILLED, has_ended=True, usage=Usage(), content_bytes=38
    )
    row = fail_request(tally, unserved, 1003.0, 53.0)
    assert row is not None
    assert row.cost is not None
    assert row.estimate == row.cost == Decimal("0.00042")
    assert row.reserved == Decimal("0.0006") - row.cost
