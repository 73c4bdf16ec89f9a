"""Two decisions of each call held against each other: counts, money, and what differs."""

from decimal import Decimal
from typing import Any

from gateway.core.decision import Decision, Plan
from gateway.core.price import Price, Rates
from gateway.core.target import Target
from gateway.core.usage import Usage
from gateway.evaluation.shadow_stats import EXAMPLES, Seen, Shadowed, Side, costs, refused, side
from tests.routing.world import LUNA, SOL

SMART, FAST = (
    Side("openai", "smart", "openai/sol", "default"),
    Side("openai", "fast", "openai/luna", "rule a"),
)


def seen(number: int = 1, own: Side = SMART, other: Side = FAST, **more: Any) -> Seen:
    return Seen(id=f"tg-{number}", at=1e9 + number, key="k", own=own, other=other, **more)


def decision(**more: Any) -> Decision:
    return Decision(**{"lab": "openai", "tier": "smart", "source": "default", **more})


def test_a_decision_is_told_by_where_it_goes_and_who_said_so() -> None:
    plan = Plan(targets=(SOL, LUNA), doors=("", ""))
    assert side(decision(), plan) == SMART
    named = side(decision(source="rule", rule="a", tier=None), plan)
    assert (named.tier, named.by) == ("", "rule a")
    assert refused("not_allowed") == Side("", "refused", "", "not_allowed")


def test_nothing_is_known_of_no_calls() -> None:
    told = Shadowed().view()
    assert (told["calls"], told["agreement"], told["examples"]) == (0, None, [])
    assert told["cost"] == {
        "calls": 0, "unknown": 0, "own": None, "candidate": None, "difference": None,
    }  # fmt: skip


def test_counts_of_what_differs() -> None:
    found = Shadowed()
    found.add(seen(1, other=SMART, tags=("t",)))
    found.add(seen(2, costs=(Decimal("0.3"), Decimal("0.1"))))
    found.add(seen(3, tags=("t", "u")))
    found.add(seen(4, other=refused("no_target")))
    found.add(seen(5, other=Side("openai", "smart", "openai/terra", "default")))
    told = found.view()
    assert (told["calls"], told["agree"], told["agreement"]) == (5, 1, 0.2)
    assert told["tiers"] == {
        "own": {"smart": 5},
        "candidate": {"fast": 2, "refused": 1, "smart": 2},
    }
    assert told["moves"] == [
        {"own": "smart", "candidate": "fast", "calls": 2},
        {"own": "smart", "candidate": "refused", "calls": 1},
    ]
    assert told["rules"] == [
        {"own": "default", "candidate": "rule a", "calls": 2},
        {"own": "default", "candidate": "default", "calls": 1},
        {"own": "default", "candidate": "no_target", "calls": 1},
    ]
    assert told["keys"] == [{"name": "k", "calls": 5, "differ": 4}]
    assert told["tags"] == [
        {"name": "t", "calls": 2, "differ": 1},
        {"name": "u", "calls": 1, "differ": 1},
    ]
    assert told["cost"] == {
        "calls": 1, "unknown": 4, "own": "0.3", "candidate": "0.1", "difference": "-0.2",
    }  # fmt: skip
    examples = told["examples"]
    assert isinstance(examples, list)
    assert [one["id"] for one in examples] == ["tg-5", "tg-4", "tg-3", "tg-2"]
    assert examples[-1] == {
        "id": "tg-2",
        "at": 1e9 + 2,
        "key": "k",
        "own": {"lab": "openai", "tier": "smart", "target": "openai/sol", "by": "default"},
        "candidate": {"lab": "openai", "tier": "fast", "target": "openai/luna", "by": "rule a"},
    }


def test_it_stays_small() -> None:
    """However many calls, keys and tags there are."""
    found = Shadowed()
    for number in range(2_000):
        found.add(seen(number, tags=(f"tag {number}",)))
    told = found.view()
    assert len(found.examples) == EXAMPLES
    tags = told["tags"]
    assert isinstance(tags, list)
    assert len(tags) == 100
    assert tags[0] == {"name": "(others)", "calls": 1_000, "differ": 1_000}


def priced(one: Target, rate: int) -> Target:
    rates = Rates(input=Decimal(rate), output=Decimal(rate))
    price = Price(rates=rates, version="v")
    return Target(provider=one.provider, model=one.model, price=price)


def test_money_is_of_what_was_used_and_unknown_where_anything_is() -> None:
    usage = Usage(input=1_000_000, output=1_000_000)
    dear, cheap = priced(SOL, 5), priced(LUNA, 1)
    assert costs(usage, dear, cheap, 1e9) == (Decimal(10), Decimal(2))
    assert costs(None, dear, cheap, 1e9) is None
    assert costs(usage, dear, LUNA, 1e9) is None
    assert costs(usage, SOL, cheap, 1e9) is None
    assert costs(usage, None, cheap, 1e9) is None
    assert costs(usage, dear, None, 1e9) is None
