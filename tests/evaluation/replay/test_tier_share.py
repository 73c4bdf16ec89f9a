"""Bounds on shares that a log lacks: what the gateway would make of the same turns."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.core.call import Call, Key
from gateway.core.decision_context import DecisionContext, ShareCut, Thresholds
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.evaluation.replay.tier_share import CHECK_TURNS, ReplayedShares
from gateway.limits.tier_share import TurnCounter
from gateway.routing.classifier.heuristic import THRESHOLDS, HeuristicClassifier
from gateway.routing.replay_decision import decide_again, read_context
from gateway.routing.router import Router
from gateway.routing.tier_share import ShareBounds
from tests.routing import world

BOUNDS = ShareBounds(reasoning=0.05, smart=0.3)
KINDS_OF_TURNS: list[dict[str, Any]] = [
    {"words": 2, "greeting": True},
    {"words": 40, "build_words": 1},
    {"words": 60, "code": 0.5, "build_words": 1},
    {"words": 90, "maths": 1.0, "proof_words": 2},
    {"words": 20, "maths": 0.5},
]


def rows(count: int, **changes: Any) -> list[ReplayRow]:
    """Return turns of all kinds, a few a second, of one key."""
    rng = Random(3)
    plain: dict[str, Any] = {
        "key": "alice", "dialect": "openai-chat", "asked": "auto", "state": "settled", "lab": "openai",
        "tier": "smart", "source": "classifier", "config": "old", **changes,
    }  # fmt: skip
    made_rows = []
    for number in range(count):
        signals = {**KINDS_OF_TURNS[number * 7 % 5], "chars": rng.randrange(500)}
        signals["words"] += rng.randrange(30)
        basis = DecisionRecord(
            user_tokens=9, chars=40, turns=1, signals=signals, target="openai/sol"
        )
        made_rows.append(
            ReplayRow(id=f"tg-{number:06}", at=1e9 + number * 0.3, basis=basis, **plain)
        )
    return made_rows


@pytest.fixture
def router() -> Router:
    return world.router(classifier=HeuristicClassifier())


def tiers(walk: LedgerReplay) -> Counter[str]:
    return walk.totals.total.tiers_after


def test_a_new_share_bound_applies_once_there_are_enough_turns(
    router: Router,
) -> None:
    """The shares of all turns after the first 2,000 are within two points of the bound."""
    all_rows = rows(8_000)
    free, bound = LedgerReplay(router), LedgerReplay(router, share_bounds=BOUNDS)
    for row in all_rows[:2_000]:
        free.replay_row(row)
        bound.replay_row(row)
    assert tiers(free) == tiers(bound), "before that nothing is bounded"
    first = Counter(tiers(bound))
    for row in all_rows[2_000:]:
        free.replay_row(row)
        bound.replay_row(row)
    later = Counter(tiers(bound))
    later.subtract(first)
    assert tiers(free)["reasoning"] > 0.15 * 8_000
    assert abs(later["reasoning"] / 6_000 - 0.05) < 0.02
    assert abs(later["smart"] / 6_000 - 0.30) < 0.02


def test_a_replay_cuts_shares_as_the_gateway_does(router: Router) -> None:
    """The cuts are the same if replay and gateway look at the same moments."""
    shares, traffic = ReplayedShares(BOUNDS, THRESHOLDS), TurnCounter()
    traffic.adopt(BOUNDS, THRESHOLDS)
    key = Key(name="alice")
    for number, row in enumerate(rows(5_000), 1):
        # All rows have one moment, so that only the number of turns decides when both look.
        still = msgspec.structs.replace(row, at=1e9)
        decision, _ = decide_again(router, row)
        shares.add_turn(still, decision)
        call = Call(
            id="c",
            dialect="openai-chat",
            operation="generate",
            body=b"",
            key=key,
            received_at=1e9,
            started_at=0.0,
        )
        traffic.count_turn(call, decision)
        if number % CHECK_TURNS == 0 or number == 1:
            asyncio.run(traffic.refresh())
    ours = shares.adjust_context(rows(1)[0], DecisionContext()).thresholds
    theirs = traffic.find_thresholds(key)
    assert ours is not None
    assert theirs is not None
    assert ours.bounds == theirs.bounds == (0.05, 0.3)
    assert ours.cut is not None
    assert theirs.cut is not None
    assert abs(ours.cut.reasoning - theirs.cut.reasoning) < 0.02
    assert abs(ours.cut.smart - theirs.cut.smart) < 0.02


def test_a_replay_with_the_same_bounds_uses_the_recorded_thresholds(router: Router) -> None:
    """A call of this very configuration keeps its own thresholds, whatever their bounds."""
    thresholds = Thresholds(0.53, 0.63, "key-1", ShareCut(0.0, 1.0), (0.05, 0.3))
    (row,) = rows(1)
    assert row.basis is not None
    recorded = msgspec.structs.replace(
        row,
        basis=msgspec.structs.replace(row.basis, evidence=DecisionContext(thresholds=thresholds)),
    )
    shares = ReplayedShares(BOUNDS, THRESHOLDS)
    assert (
        shares.adjust_context(
            recorded, read_context(recorded, recorded.basis or DecisionRecord())
        ).thresholds
        == thresholds
    )
    other_shares = ReplayedShares(ShareBounds(reasoning=0.5), THRESHOLDS)
    assert (
        other_shares.adjust_context(recorded, DecisionContext(thresholds=thresholds)).thresholds
        is None
    )
    own = msgspec.structs.replace(recorded, config=router.catalogue.version)
    walk = LedgerReplay(router, share_bounds=ShareBounds(reasoning=0.5))
    walk.replay_row(own)
    assert walk.totals.total.tiers_after["fast"] == 1


def test_calls_that_no_classifier_decides_do_not_count_as_turns(router: Router) -> None:
    shares = ReplayedShares(BOUNDS, THRESHOLDS)
    (row,) = rows(1)
    decision, _ = decide_again(router, row)
    for changed in (
        msgspec.structs.replace(decision, source="seat"),
        msgspec.structs.replace(decision, score=None),
        msgspec.structs.replace(decision, classified_tier=None),
    ):
        shares.add_turn(row, changed)
    assert shares._scopes == {}
    assert LedgerReplay(world.router(), share_bounds=BOUNDS)._shares is None
    tokens = msgspec.structs.replace(
        row,
        dialect="anthropic-messages",
        basis=msgspec.structs.replace(row.basis or DecisionRecord(), operation="count_tokens"),
    )
    walk = LedgerReplay(router, share_bounds=BOUNDS)
    walk.replay_row(tokens)
    assert walk.totals.total.calls == 1
