"""Test fair concurrency: keys get equal shares while most places are taken, and any number before."""

import hashlib
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.limits.load_shedding import LoadSample, LoadShedder
from gateway.server.admission import FairConcurrency
from tests.e2e.upstream import PATIENCE, SILENT, Upstream, whole
from tests.e2e.world import Config, Make, chat

CALM = LoadShedder(LoadSample)
ANN, BOB, CAT = (Key(name=name) for name in ("ann", "bob", "cat"))


def enter(shares: FairConcurrency, key: Key, times: int = 1) -> None:
    for _ in range(times):
        shares.check(key)
        shares.enter(key)


def find_refusal(shares: FairConcurrency, key: Key) -> tuple[str, float | None] | None:
    try:
        shares.check(key)
    except ProblemError as error:
        return error.problem.kind, error.problem.retry_after
    return None


BUSY, FULL = ("rate_limited", 1.0), ("overloaded", 1.0)


def test_a_single_key_may_use_all_places() -> None:
    shares = FairConcurrency(8, CALM)
    enter(shares, ANN, 8)
    assert find_refusal(shares, ANN) == FULL


def test_a_key_above_its_share_waits_while_others_get_in() -> None:
    """More than six of eight places are taken, so each of two keys may have four."""
    shares = FairConcurrency(8, CALM)
    enter(shares, BOB)
    enter(shares, ANN, 6)
    assert find_refusal(shares, ANN) == BUSY
    assert find_refusal(shares, BOB) is None
    assert find_refusal(shares, CAT) is None
    enter(shares, CAT)
    assert find_refusal(shares, BOB) == FULL


def test_a_key_with_a_full_share_gets_no_more() -> None:
    shares = FairConcurrency(8, CALM)
    enter(shares, ANN, 4)
    enter(shares, BOB, 3)
    assert (find_refusal(shares, ANN), find_refusal(shares, BOB)) == (BUSY, None)


def test_shares_count_only_above_three_quarters_of_the_places() -> None:
    shares = FairConcurrency(8, CALM)
    enter(shares, BOB)
    enter(shares, ANN, 5)
    assert find_refusal(shares, ANN) is None
    enter(shares, ANN)
    assert find_refusal(shares, ANN) == BUSY
    shares.leave(ANN)
    assert find_refusal(shares, ANN) is None


def test_equal_key_names_of_two_tenants_are_two_keys() -> None:
    shares = FairConcurrency(8, CALM)
    enter(shares, BOB)
    enter(shares, ANN, 6)
    assert find_refusal(shares, Key(name="ann", tenant="other")) is None


def test_a_key_without_calls_no_longer_counts() -> None:
    shares = FairConcurrency(8, CALM)
    enter(shares, BOB)
    enter(shares, ANN, 6)
    shares.leave(BOB)
    enter(shares, ANN, 2)
    assert find_refusal(shares, ANN) == FULL


MOVES = st.lists(st.tuples(st.sampled_from([ANN, BOB, CAT]), st.booleans()), max_size=60)


@given(limit=st.integers(1, 12), moves=MOVES)
def test_places_are_shared_correctly_in_any_order_of_calls(
    limit: int, moves: list[tuple[Key, bool]]
) -> None:
    """Calls never exceed the limit; a key below its share is refused only if no place is left."""
    shares, running = FairConcurrency(limit, CALM), dict.fromkeys(["ann", "bob", "cat"], 0)
    for key, starts in moves:
        if starts:
            refusal = find_refusal(shares, key)
            active = sum(1 for name, count in running.items() if count or name == key.name)
            if refusal == BUSY:
                assert running[key.name] >= limit / active
            assert (refusal == FULL) == (sum(running.values()) == limit)
            if refusal is None:
                shares.enter(key)
                running[key.name] += 1
        elif running[key.name]:
            shares.leave(key)
            running[key.name] -= 1
        assert shares.call_count == sum(running.values()) <= limit
    for name, count in running.items():
        for _ in range(count):
            shares.leave(Key(name=name))
    assert (shares.call_count, shares._calls_by_key) == (0, {})


def environment_keys(*names: str) -> str:
    return ",".join(f"{name}={hashlib.sha256(name.encode()).hexdigest()}" for name in names)


def test_a_key_that_would_take_all_places_gets_429_and_another_is_served(
    make: Make, upstream: Upstream
) -> None:
    """Bob has one of eight places and ann six: ann may not take the eighth."""

    def limit_calls(value: Config) -> None:
        value["server"] = {"in_flight": 8}

    world = make(limit_calls, TIERGATE_KEYS=environment_keys("ann", "bob", "cat"))
    upstream.on("/acme", *[SILENT] * 7, whole())
    with ExitStack() as stack:
        for name in ("bob", *["ann"] * 6):
            stack.enter_context(world.leaving(chat(), authorization=f"Bearer {name}"))
        waiting = [upstream.arrived() for _ in range(7)]
        reply = world.ask(chat(), authorization="Bearer ann")
        assert (reply.status_code, reply.headers["retry-after"]) in {
            (429, f"{s}") for s in range(1, 6)
        }
        assert reply.json()["error"]["code"] == "rate_limit_exceeded"
        assert "x-should-retry" not in reply.headers
        assert world.ask(chat(), authorization="Bearer cat").status_code == 200
    for request in waiting:
        assert request.left.wait(PATIENCE)
    upstream.on("/acme", whole())
    assert world.ask(chat(), authorization="Bearer ann").status_code == 200
