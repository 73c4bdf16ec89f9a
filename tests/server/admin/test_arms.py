"""Test the results of arms that admins read over HTTP."""

import time
from decimal import Decimal

import pytest

from gateway.core.ledger_rows import FinalRow
from gateway.ledger import arm_rows
from gateway.ledger.errors import QueryTooLongError
from tests.e2e.world import World
from tests.ledger.rows import entry, feedback
from tests.server.admin.test_costs import check_error, get, write

PATH = "/admin/arms"


def experiment(now: float) -> list[FinalRow]:
    """Return calls of 30 conversations of each arm; out, a call costs twice as much."""
    return [
        entry(
            f"{arm}-{number}-{call}", at=now - number, arm=f"canary:{arm}",
            conversation=f"{arm} {number}", cost=Decimal(usd) + Decimal(number % 3) / 100,
        )
        for arm, usd in (("in", "0.1"), ("out", "0.2"))
        for number in range(30)
        for call in range(2)
    ]  # fmt: skip


def test_the_arms_of_rules_are_compared(world: World) -> None:
    now = time.time()
    write(
        world,
        *experiment(now),
        feedback("in-0-0", verdict="good"),
        entry("tg-cap", at=now, arm="cap:out"),
        entry("tg-old", at=now - 90_000, arm="canary:in"),
    )
    answer = get(world, PATH).json()
    assert [rule["rule"] for rule in answer["rules"]] == ["canary", "cap"]
    assert (answer["confidence"], answer["zone"], answer["damaged_rows"]) == (0.95, "UTC", 0)
    canary = answer["rules"][0]
    assert (canary["in"]["conversations"], canary["in"]["calls"], canary["in"]["cost"]) == (30, 60, "6.60")  # fmt: skip
    assert (canary["in"]["rated"], canary["in"]["figures"]["good"]["value"]) == (1, 1.0)
    assert canary["differences"]["cost_per_call"]["value"] == "-0.1"
    assert canary["findings"]["cost_per_call"] == "lower"
    assert canary["findings"]["failed"] == "no difference can be claimed"
    (alone,) = get(world, f"{PATH}?rule=canary&since=7d&only=arm:canary:in").json()["rules"]
    assert (alone["in"]["calls"], alone["out"]["calls"]) == (61, 0)
    assert get(world, f"{PATH}?rule=nobody").json()["rules"] == []
    assert get(world, f"{PATH}?rule=%00").json()["rules"] == []


def test_a_wrong_question_for_arms_is_explained(world: World) -> None:
    for query, problem in (
        ("only=colour:red", "'colour:red' is not NAME=VALUE"),
        ("since=soon", "'soon' is no time"),
        ("rules=canary", "There is no parameter 'rules' here. Did you mean 'rule'?"),
    ):
        assert check_error(get(world, f"{PATH}?{query}"), 400).startswith(problem)


def test_too_many_calls_and_too_much_time_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(world, *experiment(time.time()))
    defaults = dict(arm_rows.read_arm_rows.__kwdefaults__ or {})
    monkeypatch.setattr(arm_rows.read_arm_rows, "__kwdefaults__", {**defaults, "max_calls": 9})
    assert check_error(get(world, PATH), 400) == (
        "The gateway reads at most 9 calls for this: ask for one rule, for a shorter time, or for"
        " fewer calls with `only`."
    )

    def fail(*_: object, max_seconds: float) -> None:
        raise QueryTooLongError(max_seconds)

    monkeypatch.setattr(world.gateway.store, "limit_time", lambda _, seconds: fail(max_seconds=seconds))  # fmt: skip
    message = check_error(get(world, PATH), 400)
    assert message.startswith("The ledger did not answer this within 10 s: ask for a shorter time")
