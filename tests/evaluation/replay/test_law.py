"""Law 8: `replay` of an unchanged configuration over any log changes nothing.

Random configurations serve random traffic in the real engine: rules, classifiers, conversations
with affinity, and budgets that send calls to a cheaper tier. The same router decides the rows
again.
"""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.call import Key
from gateway.core.target import TIERS
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.routing.quality_dial import OwnTokens
from gateway.routing.replay_decision import decide_again
from gateway.routing.rules.compile import RuleSet
from tests.e2e.world import config
from tests.evaluation.replay.traffic import Ask, logged, served
from tests.routing import world
from tests.routing.test_replay_decision import CHOICES, GUARDS

TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
KEYS = st.builds(
    Key,
    name=st.sampled_from(["alice", "bob"]),
    tiers=st.sampled_from([None, None, ("fast", "smart")]),
    conversation=st.sampled_from([None, None, "turn", "cost-aware"]),
)
ASKS = st.builds(
    Ask,
    text=st.sampled_from(
        ["hi", "Prove that 2 is prime.", "", "def f(): return 1", "Warum ist der Himmel blau?"]
    ),
    model=st.sampled_from(["auto", "auto", "auto", "auto", "fast", "other/auto", "deep-1", "nope"]),
    talk=st.sampled_from([None, "one", "one", "two"]),
    turn=st.integers(1, 3),
    after=st.sampled_from([1.0, 20.0, 400.0]),
    key=KEYS,
    tags=st.sampled_from([(), ("a",)]),
    tools=st.sampled_from([[], [TOOL]]),
)
BUDGETS = st.sampled_from(
    [
        [],
        [
            {
                "name": "b",
                "usd": 0.1,
                "every": "day",
                "then": "fast",
                "tier": ["smart", "reasoning"],
            }
        ],
        [{"name": "b", "usd": 0.2, "every": "day"}],
    ]
)


_LABS = {"google": "other", "openai": "acme"}


def use_own_labs(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule with the labs of this configuration."""
    changed = dict(rule)
    if "deny" in rule:
        changed["deny"] = [_LABS[name] for name in rule["deny"]]
    if "lab" in rule:
        changed["lab"] = _LABS[rule["lab"]]
    return changed


RULES = st.builds(
    world.rules,
    guards=st.lists(GUARDS.map(use_own_labs), max_size=2),
    choices=st.lists(CHOICES.map(use_own_labs), max_size=3),
)
CONFIGS = st.fixed_dictionaries(
    {
        "routing": st.fixed_dictionaries(
            {
                "classifier": st.sampled_from(["prior", "off"]),
                "conversation": st.sampled_from(
                    ["turn", "sticky", "ratchet-up", "cost-aware", "pin"]
                ),
            },
            optional={"quality": st.sampled_from([2, 5, 8])},
        ),
        "budgets": BUDGETS,
        "default": st.fixed_dictionaries({"lab": st.just("acme"), "tier": st.sampled_from(TIERS)}),
    }
)


UNPRICED = {**config("")["models"], "able-1": {"context": 1_000_000}}
"""Models with a missing price, so that nobody knows if a move down to smart pays."""
TRAFFIC = st.lists(ASKS, min_size=1, max_size=8)


def assert_replay_changes_nothing(rules: RuleSet, changes: dict[str, Any], asks: list[Ask]) -> None:
    """Serve the calls, and decide them again."""
    with tempfile.TemporaryDirectory() as name:
        router, rows = served(Path(name), asks, rules, **changes)
    assert len(rows) == len(asks)
    # The own traffic has changed by now, but rows keep the terms of the dial.
    router.own_traffic.tokens = {"acme": OwnTokens((5_000, 600, 1), ())}
    walk = LedgerReplay(router)
    for row in rows:
        walk.replay_row(logged(row))
    total = walk.totals.total
    assert (
        total.changed,
        total.undecided,
        walk.totals.missing_data,
        walk.totals.assumed_translations,
    ) == (0, 0, {}, 0)
    assert total.calls + walk.totals.refused_early == len(rows)
    assert total.usd_before == total.usd_after
    assert walk.totals.cache_lost_usd == walk.totals.cache_gained_usd == 0
    for row in rows:
        if row.lab is None:
            continue
        decision, plan = decide_again(router, row)
        replayed = decision.lab, decision.tier, decision.source, decision.rule, decision.confidence
        assert replayed == (row.lab, row.tier, row.source, row.rule, row.confidence)
        assert sorted(decision.tags) == sorted(row.tags)
        assert row.basis is not None
        assert plan.targets[0].name == row.basis.target


@settings(max_examples=25, deadline=None)
@given(rules=RULES, changes=CONFIGS, asks=TRAFFIC)
def test_an_unchanged_configuration_changes_nothing(
    rules: RuleSet, changes: dict[str, Any], asks: list[Ask]
) -> None:
    assert_replay_changes_nothing(rules, changes, asks)


def test_the_traffic_has_sessions_budgets_pins_refusals_and_rules(tmp_path: Path) -> None:
    """The traffic has sessions, ceilings of budgets, pins, refusals, rules and the classifier."""
    rules = world.rules(choices=[{"when": {"keywords": ["prove"]}, "tier": "reasoning"}])
    asks = [
        Ask("Prove that 2 is prime.", talk="one", max_tokens=50),
        Ask("And 3?", talk="one", turn=2, max_tokens=50),
        Ask("hi"),
        Ask("hi", model="swift-1"),
        Ask("hi", model="nope"),
        Ask("Prove that 5 is prime, at any length.", talk="other"),
    ]
    budget = {"name": "b", "usd": 0.1, "every": "day", "then": "fast", "tier": "reasoning"}
    routing = {"classifier": "prior", "conversation": "sticky"}
    _, rows = served(tmp_path, asks, rules, budgets=[budget], routing=routing)
    assert [row.source for row in rows[:4]] == ["rule", "seat", "classifier", "pin"]
    assert (rows[1].tier, rows[4].problem) == ("reasoning", "model_not_found")
    contexts = [row.basis.evidence for row in rows if row.basis is not None and row.basis.evidence]
    assert "acme/deep-1" in {context.seat.target for context in contexts if context.seat}
    assert {context.ceiling for context in contexts} == {None, "fast"}


def test_a_long_conversation_replays_unchanged() -> None:
    """By default the conversation rises by a rule, stays for easier turns, and is lowered."""
    rules = world.rules(choices=[{"when": {"keywords": ["prove"]}, "tier": "reasoning"}])
    turns = ["Hi!", "Prove that 2 is prime.", *["Write a letter to my landlord."] * 11, "Prove it."]
    asks = [Ask(text, talk="one", turn=at) for at, text in enumerate(turns, 1)]
    assert_replay_changes_nothing(rules, {"models": UNPRICED}, asks)
    with tempfile.TemporaryDirectory() as name:
        _, rows = served(Path(name), asks, rules, models=UNPRICED)
    assert [row.tier for row in rows] == [
        "fast", *["reasoning"] * 9, *["smart"] * 3, "reasoning",
    ]  # fmt: skip
    seats = [row.basis.evidence.seat for row in rows[1:] if row.basis and row.basis.evidence]
    assert [seat.turns_below for seat in seats if seat] == [0, *range(9), 0, 0, 0]


@pytest.mark.parametrize("conversation", ["turn", "ratchet-up", "cost-aware"])
def test_a_replay_uses_the_recorded_terms_of_the_dial(conversation: str) -> None:
    """According to later own calls, answers of reasoning would cost almost nothing."""
    texts = ["hi", "Prove that 2 is prime.", "Write a letter to my landlord.", "Thanks!"]
    asks = [Ask(text, talk="one", turn=turn) for turn, text in enumerate(texts, 1)]
    routing = {"classifier": "prior", "quality": 4, "conversation": conversation}
    assert_replay_changes_nothing(world.rules(), {"routing": routing}, asks)


def test_a_rise_by_evidence_replays_unchanged() -> None:
    """An unhappy user turn raises the conversation for eight turns."""
    turns = ["Hi!", "That's wrong.", *["Write a letter to my landlord.", "Hi!"] * 5]
    asks = [Ask(text, talk="one", turn=at) for at, text in enumerate(turns, 1)]
    assert_replay_changes_nothing(world.rules(), {"models": UNPRICED}, asks)
    with tempfile.TemporaryDirectory() as name:
        _, rows = served(Path(name), asks, world.rules(), models=UNPRICED)
    shown = [row.basis.history for row in rows if row.basis]
    assert [[item.name for item in items or ()] for items in shown[:3]] == [[], ["asked_again"], []]
    assert [row.tier for row in rows] == ["fast", *["smart"] * 11]
    seats = [row.basis.evidence.seat for row in rows[1:] if row.basis and row.basis.evidence]
    assert [seat.rise and seat.rise.turns for seat in seats if seat] == [
        None, *range(9), None,
    ]  # fmt: skip
