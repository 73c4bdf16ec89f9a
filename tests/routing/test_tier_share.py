"""Bounds on the shares of tiers: turns in one order of need, cut where a share is full."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.decision_context import DecisionContext, Score, ShareCut, Thresholds
from gateway.core.target import TIERS, Tier
from gateway.dialects import OPENAI_CHAT
from gateway.routing import explain
from gateway.routing.classifier import heuristic
from gateway.routing.router import decide
from gateway.routing.tier_share import (
    CELL_COUNT,
    CELLS_PER_TIER,
    COUNTER_COUNT,
    FAST_CELL,
    MIN_TURNS,
    NO_CUT,
    RecentTurns,
    ShareBounds,
    choose_tier,
    compute_cut,
    draw_fraction,
    find_cell,
)
from tests.routing import world

OWN = Thresholds(0.5, 0.6, "own")
type Draw = Callable[[random.Random], tuple[float, float]]


def counts(**of: int) -> list[int]:
    """Return turns by cell: `at_3=5` is five turns in cell 3."""
    cells = [0] * CELL_COUNT
    for name, count in of.items():
        cells[int(name.removeprefix("at_"))] = count
    return cells


def test_turns_are_ordered_by_how_much_they_need() -> None:
    assert find_cell(Score(0.5, 0.55), OWN) == FAST_CELL
    assert find_cell(Score(0.0, 0.0), OWN) == 0
    assert find_cell(Score(0.4, 0.599999), OWN) == CELLS_PER_TIER - 1
    assert find_cell(Score(0.0, 0.6), OWN) == CELLS_PER_TIER
    assert find_cell(Score(0.25, 0.6), OWN) == CELLS_PER_TIER + CELLS_PER_TIER // 2
    assert find_cell(Score(0.4999999, 0.9), OWN) == FAST_CELL - 1


def test_a_tier_within_its_share_is_not_cut() -> None:
    assert (
        compute_cut(counts(at_3=10, at_200=40, at_256=50), ShareBounds(reasoning=0.1, smart=0.4))
        == NO_CUT
    )
    assert compute_cut(counts(at_3=50, at_200=50), ShareBounds()) == NO_CUT
    assert compute_cut(counts(), ShareBounds(reasoning=0.0, smart=0.0)) == NO_CUT


def test_a_tier_is_cut_where_its_share_is_full() -> None:
    """The cut is between cells, or within a cell that is too large."""
    most = ShareBounds(reasoning=0.1)
    assert compute_cut(counts(at_3=10, at_5=10, at_256=80), most).reasoning == pytest.approx(
        4 / CELLS_PER_TIER
    )
    assert compute_cut(counts(at_3=40, at_256=60), most).reasoning == pytest.approx(
        3.25 / CELLS_PER_TIER
    )
    assert compute_cut(counts(at_3=40, at_256=60), ShareBounds(reasoning=0.0)).reasoning == 0.0


def test_turns_beyond_the_share_of_reasoning_go_to_smart_and_count_there() -> None:
    cut = compute_cut(counts(at_0=30, at_200=30, at_256=40), ShareBounds(reasoning=0.1, smart=0.4))
    assert cut.reasoning == pytest.approx((1 / 3) / CELLS_PER_TIER)
    assert cut.smart == pytest.approx(
        (200 + 20 / 30) / CELLS_PER_TIER
    )  # 20 of reasoning's turns, 20 of its own
    cut = compute_cut(counts(at_0=50, at_200=30, at_256=20), ShareBounds(reasoning=0.1, smart=0.2))
    assert cut.smart == pytest.approx(
        0.6 / CELLS_PER_TIER
    )  # all turns that go to smart were reasoning's


def test_a_cut_of_smart_leaves_reasoning_alone() -> None:
    cut = compute_cut(
        counts(at_100=10, at_200=80, at_256=10), ShareBounds(reasoning=0.1, smart=0.2)
    )
    assert cut.reasoning == 1.0
    assert cut.smart == pytest.approx(200.25 / CELLS_PER_TIER)
    assert choose_tier(Score(0.0, 0.59), OWN, cut, 1.0) == "reasoning"


def test_a_tier_that_exceeded_its_share_gets_fewer_turns_afterwards() -> None:
    """The correction is quick: at most two points down and one up; a bound of 0 stays 0."""
    most = ShareBounds(reasoning=0.10, smart=0.40)

    def bounded(turns: int, reasoned: int, smart: int, most: ShareBounds = most) -> ShareCut:
        return compute_cut([*counts(at_0=50, at_200=50), turns, reasoned, smart], most)

    assert bounded(0, 0, 0) == compute_cut(counts(at_0=50, at_200=50), most)
    assert bounded(1_000, 105, 400).reasoning == pytest.approx(0.09 * 2 / CELLS_PER_TIER)
    assert bounded(1_000, 98, 400).reasoning == pytest.approx(0.104 * 2 / CELLS_PER_TIER)
    assert bounded(1_000, 900, 0).reasoning == pytest.approx(0.08 * 2 / CELLS_PER_TIER)
    assert bounded(1_000, 0, 0).reasoning == pytest.approx(0.11 * 2 / CELLS_PER_TIER)
    fewer, more = bounded(1_000, 100, 405).smart, bounded(1_000, 100, 395).smart
    assert fewer < bounded(1_000, 100, 400).smart < more
    assert bounded(1_000, 0, 0, ShareBounds(reasoning=0.0, smart=0.0)) == ShareCut(0.0, 0.0)
    assert bounded(1_000, 1_000, 0, ShareBounds(reasoning=0.001)).reasoning == 0.0
    assert bounded(1_000, 0, 900, ShareBounds()) == NO_CUT


@pytest.mark.parametrize(
    ("timestamp", "fraction"),
    [
        (0.0, 0.0),
        (1_700_000_000.0, 0.05720271664273291),
        (1_700_000_000.25, 0.6448005618859263),
        (1_793_000_000.123456, 0.5862004080817341),
    ],
)
def test_a_moment_has_the_same_fraction_in_every_version(timestamp: float, fraction: float) -> None:
    """A replay of old rows depends on it."""
    assert draw_fraction(timestamp) == fraction


def test_a_turn_at_the_end_of_a_tier_is_beyond_it() -> None:
    """The fraction of time 0 is 0, so the turn is exactly there: a share of 0 gets no turn."""
    assert choose_tier(Score(0.0, 0.0), OWN, ShareCut(0.0, 2.0), 0.0) == "smart"
    assert choose_tier(Score(0.0, 0.0), OWN, ShareCut(0.0, 0.0), 0.0) == "fast"
    assert choose_tier(Score(0.0, 0.6), OWN, ShareCut(1.5, 2.0), 0.0) == "smart"


def make_turns(**of: int) -> list[int]:
    """Return counts with three counters after the cells: all turns, and those of two tiers."""
    cells = counts(**of)
    return [*cells, sum(cells), 7, 9]


def test_recent_turns_are_those_of_two_generations() -> None:
    turns = RecentTurns()
    assert (turns.turn_count, turns.counts) == (0, [0] * COUNTER_COUNT)
    turns.add(make_turns(at_3=MIN_TURNS - 1))
    assert turns.previous == [0] * COUNTER_COUNT
    assert turns.counts == make_turns(at_3=MIN_TURNS - 1)
    turns.add([*counts(at_9=1), 1, 0, 0])
    assert turns.current == [0] * COUNTER_COUNT
    assert turns.counts == turns.previous == make_turns(at_3=MIN_TURNS - 1, at_9=1)
    turns.add(make_turns(at_3=5))
    assert turns.turn_count == MIN_TURNS + 5
    assert turns.counts[3] == MIN_TURNS + 4
    assert turns.counts[CELL_COUNT:] == [MIN_TURNS + 5, 14, 18]
    turns.add(make_turns(at_7=MIN_TURNS))
    assert turns.counts == turns.previous == [
        *counts(at_3=5, at_7=MIN_TURNS), MIN_TURNS + 5, 14, 18,
    ]  # fmt: skip


def test_recent_turns_continue_from_what_is_stored() -> None:
    previous, current = make_turns(at_1=MIN_TURNS), make_turns(at_2=3)
    turns = RecentTurns(previous, current)
    assert (turns.previous, turns.current) == (previous, current)
    assert turns.turn_count == MIN_TURNS + 3


def test_the_time_of_a_call_decides_its_side_of_a_split_cell() -> None:
    """A moment always gives the same side; over many moments the sides are as even as chance."""
    half = ShareCut(reasoning=0.5 / CELLS_PER_TIER, smart=2.0)
    tiers = Counter(choose_tier(Score(0, 0), OWN, half, 1.7e9 + turn) for turn in range(10_000))
    assert tiers == Counter(
        choose_tier(Score(0, 0), OWN, half, 1.7e9 + turn) for turn in range(10_000)
    )
    assert tiers["reasoning"] == pytest.approx(5_000, abs=200)
    drawn = sorted(draw_fraction(1.7e9 + turn / 64) for turn in range(1_000))
    assert all(abs(fraction - at / 1_000) < 0.05 for at, fraction in enumerate(drawn))
    assert (drawn[0] >= 0, drawn[-1] < 1) == (True, True)


@example(cells={1: 1}, reasoning=0.9999999999999999, smart=8.647140643630255e-94)
@given(
    cells=st.dictionaries(st.integers(0, FAST_CELL), st.integers(1, 500)),
    reasoning=st.floats(0, 1),
    smart=st.floats(0, 1),
)
def test_the_cut_meets_the_shares_of_the_counted_turns(
    cells: dict[int, int], reasoning: float, smart: float
) -> None:
    """Each tier gets exactly its bound of the counted turns, or all that it had."""
    turn_counts = [cells.get(at, 0) for at in range(CELL_COUNT)]
    end = compute_cut(turn_counts, ShareBounds(reasoning=reasoning, smart=smart))

    def mass(start: float, stop: float) -> float:
        parts = (max(0.0, min(stop, at + 1.0) - max(start, at)) for at in range(CELL_COUNT))
        return sum(count * part for count, part in zip(turn_counts, parts, strict=True))

    total, first = sum(turn_counts), end.reasoning * CELLS_PER_TIER
    reasoned = mass(0.0, first)
    assert reasoned == pytest.approx(
        min(sum(turn_counts[:CELLS_PER_TIER]), reasoning * total), abs=1e-6
    )
    smart_turns = sum(turn_counts[:FAST_CELL]) - reasoned
    smarter = mass(first, min(end.smart * CELLS_PER_TIER, FAST_CELL))
    assert smarter == pytest.approx(min(smart_turns, smart * total), abs=1e-6)


@given(
    fast=st.floats(0, 1),
    more=st.floats(0, 1),
    end=st.tuples(st.floats(0, 2), st.floats(0, 3)),
    at=st.floats(0, 4e9),
)
def test_no_share_raises_a_turn_above_the_tier_of_its_own_thresholds(
    fast: float, more: float, end: tuple[float, float], at: float
) -> None:
    score = Score(fast, min(1.0, fast + more))
    own, used = heuristic.choose_tier(score, OWN), choose_tier(score, OWN, ShareCut(*end), at)
    assert TIERS.index(used) <= TIERS.index(own)


def even(chance: random.Random) -> tuple[float, float]:
    return chance.random(), chance.random()


def ties(chance: random.Random) -> tuple[float, float]:
    """Return one of five scores, as a judge gives them; most turns have the same score."""
    return chance.choices(
        [(0.0, 0.0), (0.1, 0.2), (0.2, 0.9), (0.4, 0.9), (1.0, 1.0)], [70, 10, 10, 5, 5]
    )[0]


def same_score(chance: random.Random) -> tuple[float, float]:
    """Return the same score for every turn."""
    return chance.choice([(0.2, 0.3)])


def bimodal(chance: random.Random) -> tuple[float, float]:
    hard = chance.random() < 0.4
    return (
        (chance.betavariate(2, 30), chance.betavariate(2, 8))
        if hard
        else (chance.betavariate(30, 3), 1.0)
    )


def narrow(chance: random.Random) -> tuple[float, float]:
    """Return a score within a thousandth, so within a cell or two."""
    return 0.3 + chance.random() / 1_000, 0.4 + chance.random() / 1_000


def easy(chance: random.Random) -> tuple[float, float]:
    """Return scores within the bounds, so that nothing is cut."""
    return (0.9, 0.95) if chance.random() < 0.8 else (0.3, 0.9)


@pytest.mark.parametrize("draw", [even, ties, same_score, bimodal, narrow, easy])
def test_the_shares_of_later_turns_are_within_two_points(draw: Draw) -> None:
    """The cut comes from 2,000 turns and applies to 4,000 others, none of them seen before."""
    chance, most = random.Random(7), ShareBounds(reasoning=0.10, smart=0.40)

    def turn() -> Score:
        fast, smart = draw(chance)
        return Score(fast, max(fast, smart))

    cells = [0] * CELL_COUNT
    for _ in range(2_000):
        cells[find_cell(turn(), OWN)] += 1
    end, tiers, free = compute_cut(cells, most), Counter[Tier](), Counter[Tier]()
    for second in range(4_000):
        score = turn()
        tiers[choose_tier(score, OWN, end, 1.7e9 + second * 0.7)] += 1
        free[heuristic.choose_tier(score, OWN)] += 1
    shares = {tier: tiers[tier] / 4_000 for tier in TIERS}
    unbounded = {tier: free[tier] / 4_000 for tier in TIERS}
    assert shares["reasoning"] == pytest.approx(min(0.10, unbounded["reasoning"]), abs=0.02)
    smart = unbounded["smart"] + unbounded["reasoning"] - shares["reasoning"]
    assert shares["smart"] == pytest.approx(min(0.40, smart), abs=0.02)


def test_the_trace_says_that_a_share_was_full() -> None:
    """The trace has both tiers and the snapshot; the decision keeps its score and thresholds."""
    router = world.router(classifier=world.FixedScoreClassifier(0.1, 0.2))
    used = Thresholds(0.53, 0.63, "key-1", ShareCut(reasoning=0.0, smart=2.0))
    decision, plan = decide(router, world.call("a"), OPENAI_CHAT, DecisionContext(thresholds=used))
    cuts = {"reasoning": 0.0, "smart": 2.0}
    assert explain.describe(decision, plan, [()] * len(plan.targets), 0.0)["thresholds"] == {
        "id": "key-1", "fast": 0.53, "smart": 0.63, "cut": cuts,
    }  # fmt: skip
    assert (decision.tier, decision.thresholds, decision.score) == ("smart", used, Score(0.1, 0.2))
    assert world.lines(decision)[-2:] == [
        "classifier: reasoning (it always says so)",
        "share: smart (max_share keeps reasoning for turns that need it more (key-1))",
    ]
    open_, plan = decide(router, world.call("a"), OPENAI_CHAT)
    thresholds = explain.describe(open_, plan, [()] * len(plan.targets), 0.0)["thresholds"]
    assert thresholds == {"id": "prior-1", "fast": 0.53, "smart": 0.63, "cut": None}
    assert (open_.tier, open_.confidence) == ("reasoning", 0.8)


def test_a_decision_model_gives_a_confidence_and_a_chat_model_none() -> None:
    router = world.router(classifier=world.FixedScoreClassifier(0.9, 0.95))
    judged = DecisionContext(judged=Score(0.1, 0.3), judge_kind="decision")
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, judged)
    assert (decision.tier, decision.confidence) == ("reasoning", 0.7)
    assert world.lines(decision)[-1] == (
        "classifier: reasoning (judged by a decision model: fast suffices 0.10, smart 0.30)"
    )
    decision, _ = decide(
        router, world.call("a"), OPENAI_CHAT, DecisionContext(judged=Score(0.1, 0.3))
    )
    assert (decision.tier, decision.confidence) == ("reasoning", None)


def test_a_verdict_does_not_count_where_a_guard_keeps_judges_away() -> None:
    router = world.router([{"judge": "off"}], classifier=world.FixedScoreClassifier(0.9, 0.95))
    context = DecisionContext(judged=Score(0.0, 0.0), judge_kind="decision", unjudged="late")
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, context)
    assert (decision.tier, decision.confidence, decision.no_judge) == ("fast", 0.9, True)
    assert not [step for step in decision.trace if step.step == "judge"]


def test_the_score_of_a_judge_replaces_that_of_the_classifier() -> None:
    """The judge's score decides in place of the classifier's; the trace says if there is none."""
    router = world.router(classifier=world.FixedScoreClassifier(0.9, 0.95))
    judged = DecisionContext(judged=Score(0.0, 0.0))
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, judged)
    assert (decision.tier, decision.source) == ("reasoning", "classifier")
    assert world.lines(decision)[-1] == "classifier: reasoning (judged by a model)"
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, DecisionContext(unjudged="too late"))
    assert decision.tier == "fast"
    assert "-judge: degraded (too late)" in world.lines(decision)
