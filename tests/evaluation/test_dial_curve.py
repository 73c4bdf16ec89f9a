"""The curve of the quality dial: the mix of tiers, the quality and the cost of each position."""

from typing import Any

import msgspec
import pytest

from gateway.core.decision_context import Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.core.quality import ALWAYS_FAST, ALWAYS_REASONING
from gateway.evaluation.dial_curve import LedgerCurve, compute_curve
from gateway.evaluation.golden import GoldenPrompt, GoldenTurn
from gateway.routing.quality_dial import OwnTokens, ReferenceSet, Worth
from tests.routing import world
from tests.routing.test_quality_dial import PRICED_LAB, make_router

PROMPTS = [
    GoldenPrompt(prompt="a", tier="fast"),
    GoldenPrompt(turns=(GoldenTurn(prompt="b", tier="reasoning"),)),
]


def test_the_curve_runs_from_always_fast_to_always_reasoning() -> None:
    ticks: list[None] = []
    as_set, *points = compute_curve(
        make_router(score=(0.5, 0.9)), PROMPTS, {}, 0.0, lambda: ticks.append(None)
    )
    assert [point.position for point in (as_set, *points)] == [None, *range(11)]
    assert points[0].tiers == {"fast": 2, "smart": 0, "reasoning": 0}
    assert points[-1].tiers == {"fast": 0, "smart": 0, "reasoning": 2}
    assert (points[0].agreed, points[-1].agreed, points[0].prompts) == (1, 1, 2)
    assert points[0].cost == pytest.approx(0.2)
    assert points[-1].cost == pytest.approx(80.0)
    assert points[-1].quality == 1.0
    assert (points[0].quality or 1) < 1
    assert len(ticks) == 2 * 12


def test_without_a_classifier_the_curve_has_no_quality() -> None:
    router = msgspec.structs.replace(make_router(), classifier=None)
    point, *_ = compute_curve(router, PROMPTS, {}, 0.0)
    assert (point.quality, point.tiers["smart"]) == (None, 2)


def test_a_lab_without_prices_has_no_cost() -> None:
    router = make_router(world.lab("openai", [world.LUNA], [world.SOL], [world.ASTRA]))
    point, *_ = compute_curve(router, PROMPTS, {}, 0.0)
    assert point.cost is None


def test_a_refused_prompt_has_no_tier_and_no_cost() -> None:
    router = make_router(PRICED_LAB, guards=({"refuse": "No."},))
    point, *_ = compute_curve(router, PROMPTS, {}, 0.0)
    assert (point.tiers, point.cost, point.agreed) == (
        {"fast": 0, "smart": 0, "reasoning": 0},
        None,
        0,
    )


def row(**changes: Any) -> ReplayRow:
    record = DecisionRecord(score=Score(fast=0.4, smart=0.8), signals={"numbers": 3})
    plain = {
        "id": "tg-1", "at": 0.0, "key": "open", "dialect": "openai-chat", "state": "settled",
        "lab": "openai", "tier": "smart", "source": "classifier", "config": "v", "basis": record,
    }  # fmt: skip
    return ReplayRow(**{**plain, **changes})


def test_the_curve_counts_calls_that_a_classifier_decided() -> None:
    curve = LedgerCurve(make_router())
    for tier in ("smart", "smart", "fast"):
        curve.add(row(tier=tier))
    as_decided, *points = curve.compute()
    assert (as_decided.tiers["smart"], as_decided.tiers["fast"], as_decided.agreed) == (2, 1, None)
    assert as_decided.cost == pytest.approx((0.006 * 2 + 0.0002) / 3 * 1_000)
    assert points[0].tiers["fast"] == points[-1].tiers["reasoning"] == 3
    qualities = [point.quality or 0 for point in points]
    assert qualities == sorted(qualities)


def test_the_curve_shows_the_current_setting_beside_past_decisions() -> None:
    """The cost comes from own answers, the quality from own calls as the reference set."""
    router = msgspec.structs.replace(make_router(), quality=ALWAYS_REASONING)
    router.own_traffic.tokens = {"openai": OwnTokens((400, 600, 500), ())}
    curve = LedgerCurve(router)
    curve.add(row())
    as_decided, as_set, *positions = curve.compute()
    assert (as_decided.is_set, as_decided.tiers["smart"]) == (False, 1)
    assert (as_set.is_set, as_set.position, as_set.tiers["reasoning"]) == (True, None, 1)
    assert as_set.cost == pytest.approx(500 * 40 / 1e6 * 1_000)
    assert len(positions) == 11


def test_the_dial_of_a_lab_applies_to_its_calls() -> None:
    lab = msgspec.structs.replace(PRICED_LAB, quality=ALWAYS_FAST)
    curve = LedgerCurve(msgspec.structs.replace(make_router(lab), quality=ALWAYS_REASONING))
    curve.add(row())
    assert curve.compute()[1].tiers["fast"] == 1


def test_own_calls_are_judged_by_the_reference_set_of_own_calls() -> None:
    router = make_router()
    router.own_traffic.reference = ReferenceSet([Worth(0.95, 0.96, 0.99)] * 20)
    curves = LedgerCurve(router), LedgerCurve(make_router())
    for curve in curves:
        curve.add(row())
    own, shipped = (curve.compute()[7].tiers for curve in curves)
    assert (own["fast"], shipped["fast"]) == (1, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "rule"}, {"tier": None}, {"lab": "gone"}, {"lab": None}, {"basis": None},
        {"basis": DecisionRecord()}, {"lab": "google"},
    ],
)  # fmt: skip
def test_calls_without_a_usable_score_or_tier_are_left_out(changes: dict[str, Any]) -> None:
    google = world.lab("google", [world.LITE], [world.HYDROGEN], [world.ARGON])
    router = msgspec.structs.replace(make_router(), catalogue=world.catalogue([PRICED_LAB, google]))
    curve = LedgerCurve(router)
    curve.add(row(**changes))
    assert curve.compute() == []


def test_a_tier_that_the_lab_no_longer_has_has_no_cost() -> None:
    lab = msgspec.structs.replace(PRICED_LAB, tiers={**PRICED_LAB.tiers, "smart": ()})
    curve = LedgerCurve(make_router(lab))
    curve.add(row())
    assert curve.compute()[0].cost is None
