"""What a call adds up to: one final entry, and nothing in it that is not known."""

from decimal import Decimal

import msgspec
import pytest

from gateway.core.call import Call, Key
from gateway.core.decision import Decision
from gateway.core.entry import Entry, State
from gateway.core.loss import Loss
from gateway.core.price import Later, Price, Rates
from gateway.core.problem import Problem
from gateway.core.tally import Tally
from gateway.core.target import Account, Provider, Target
from gateway.core.usage import Usage

CALL = Call(
    id="tg-1",
    dialect="openai-chat",
    operation="generate",
    body=b"{}",
    key=Key(name="k", tenant="t"),
    received_at=1000.0,
    started=50.0,
)
PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(2)), version="v1")
TARGET = Target(provider=Provider(name="p", doors={}), model="m", effort="low", price=PRICE)
DECISION = Decision(lab="l", tier="fast", source="rule", rule="r", confidence=0.5, tags=("a",))


def answered() -> Tally:
    tally = Tally(CALL, "c1")
    tally.asked, tally.stream = "auto", True
    tally.decision, tally.target, tally.account = DECISION, TARGET, Account("main", "s")
    tally.attempts, tally.cache, tally.served = 2, "miss", "m-2026"
    tally.losses = (Loss("top_p", "dropped", "w"), Loss("top_p", "dropped", "w"))
    tally.usage = Usage(input=1_000_000, cache_write={"5m": 1, "1h": 2}, output=10)
    tally.upstream_id, tally.first_content = "req-1", 0.25
    return tally


def test_a_call_becomes_one_row() -> None:
    entry = answered().close("settled", 200, 51.0000004)
    assert entry == Entry(
        id="tg-1", at=1000.0, key="k", tenant="t", tags=("a",), dialect="openai-chat", asked="auto", stream=True,
        state="settled", status=200, lab="l", tier="fast", source="rule", rule="r", confidence=0.5, provider="p",
        account="main", model="m", effort="low", served="m-2026", attempts=2, cache="miss", dropped=("top_p",),
        input=1_000_000, cache_write=3, output=10, cost=Decimal("1.000023"), price="v1", first_content=0.25, duration=1.0,
        upstream_id="req-1", config="c1",
    )  # fmt: skip


def test_the_effort_is_the_clients_before_the_tiers() -> None:
    tally = answered()
    tally.effort = "high"
    assert tally.close("settled", 200, 51.0).effort == "high"


def test_a_call_that_got_nowhere_has_nothing_but_what_it_was() -> None:
    """Refused before anything was sent: it cost nothing, and that is known."""
    entry = Tally(CALL, "c1").close("refused", 400, 50.5, problem="invalid_json")
    expected = Entry(
        id="tg-1", at=1000.0, key="k", tenant="t", dialect="openai-chat", state="refused", status=400,
        problem="invalid_json", cost=Decimal(0), duration=0.5, config="c1",
    )  # fmt: skip
    assert entry == expected


@pytest.mark.parametrize("state", ["aborted", "estimated"])
def test_what_was_answered_and_not_told_has_no_cost(state: State) -> None:
    """A provider has billed it, nobody knows how much: unknown, never zero."""
    tally = answered()
    tally.usage = None
    entry = tally.close(state, 502, 51.0, aborted_by="upstream")
    assert entry.cost is None
    assert entry.input is entry.output is entry.cache_write is None
    assert entry.aborted_by == "upstream"


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_what_failed_cost_nothing_where_no_attempt_can_have_been_billed(state: State) -> None:
    """One that may have been, also one of several, leaves it open."""
    free = Problem(kind="upstream_overloaded", message="m")
    billed = Problem(kind="upstream_timeout", message="m", spent="maybe")
    for problems, cost in (((), Decimal(0)), ((free,), Decimal(0)), ((billed, free), None)):
        tally = answered()
        tally.usage = None
        for problem in problems:
            tally.fail(problem)
        assert tally.close(state, 503, 51.0).cost == cost


def test_a_hit_costs_nothing_and_has_no_price() -> None:
    tally = answered()
    tally.cache = "hit"
    assert tally.cost() == 0
    entry = tally.close("cache_hit", 200, 50.001)
    assert (entry.cost, entry.price, entry.input) == (Decimal(0), None, 1_000_000)


def test_a_target_without_a_price_leaves_cost_and_price_open() -> None:
    tally = answered()
    tally.target = Target(provider=Provider(name="p", doors={}), model="m")
    entry = tally.close("settled", 200, 51.0)
    assert (entry.cost, entry.price) == (None, None)


@pytest.mark.parametrize(
    ("start", "cost", "version"), [(1000.0, "2.000046", "v2"), (1000.5, "1.000023", "v1")]
)
def test_a_call_has_the_price_of_the_moment_it_was_received(
    start: float, cost: str, version: str
) -> None:
    """Not of the one it ended at: a step in between does not count."""
    dear = Price(rates=Rates(input=Decimal(2), output=Decimal(4)), version="v2")
    price = msgspec.structs.replace(PRICE, later=(Later(start, dear),))
    tally = answered()
    tally.target = msgspec.structs.replace(TARGET, price=price)
    assert tally.cost() == Decimal(cost)
    entry = tally.close("settled", 200, 51.0)
    assert (entry.cost, entry.price) == (Decimal(cost), version)


def test_names_from_outside_are_cut() -> None:
    """A client's model name may be a megabyte; a row is not."""
    tally = answered()
    tally.asked, tally.served = "a" * 1000, "s" * 1000
    entry = tally.close("settled", 200, 51.0)
    assert (entry.asked, entry.served) == ("a" * 200, "s" * 200)


def test_a_second_end_is_a_bug() -> None:
    tally = answered()
    tally.close("settled", 200, 51.0)
    with pytest.raises(RuntimeError, match="one final entry"):
        tally.close("failed", 500, 52.0)
