"""Exemplars by meaning: the passages of a turn, the nearest reference, and what a match decides."""

import math

import pytest

from gateway.core.call import Key
from gateway.core.decision_context import DecisionContext, MeaningMatch, Score, Session
from gateway.core.target import TIERS, Tier
from gateway.dialects import OPENAI_CHAT
from gateway.routing.classifier.exemplars import Exemplar, ExemplarClassifier, score_match
from gateway.routing.classifier.heuristic import choose_tier
from gateway.routing.classifier.meaning import (
    Reference,
    find_nearest,
    list_passages,
    normalize,
)
from gateway.routing.router import decide
from tests.routing import world

BASE = world.FixedScoreClassifier(0.9, 0.95)
REFERENCES = [
    Reference("tickets", "fast", "a"),
    Reference("contracts", "reasoning", "b"),
    Reference("sql", "smart", "c", "route"),
]
VECTORS = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]


def match(near: float = 0.5, tier: Tier = "reasoning", least: float = 0.35) -> MeaningMatch:
    return MeaningMatch("contracts", tier, near, least)


def test_a_short_turn_is_compared_as_a_whole() -> None:
    assert list_passages("  Fix this SQL:\nSELECT 1 \n") == ["Fix this SQL:\nSELECT 1"]
    assert list_passages(" \n") == []


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("Review this contract." + "\n" + "Section. " * 60, ["Review this contract.", ("Section. " * 60)[-301:].strip()]),
        ("Section. " * 60 + "\nReview this contract.", [("Section. " * 60)[:300], "Review this contract."]),
        ("Hi!\nReview this contract.\n" + "x" * 400, ["Hi!\nReview this contract.", "x" * 300]),
        ("x" * 400 + "\nReview this contract.\nThanks", ["x" * 300, "Review this contract.\nThanks"]),
    ],
)  # fmt: skip
def test_a_long_turn_is_compared_by_its_first_and_last_line(text: str, passages: list[str]) -> None:
    """A line as short as a greeting takes the next one with it."""
    found = list_passages(text)
    assert [passage.strip() for passage in found] == [passage.strip() for passage in passages]
    assert all(len(passage) <= 300 for passage in found)


def test_vectors_get_length_one() -> None:
    assert normalize([3, 4]) == (0.6, 0.8)
    assert normalize([0.0, 0.0]) == (0.0, 0.0)


def test_the_nearest_reference_is_found_by_any_passage() -> None:
    passages = [normalize([1, 1.2]), normalize([-1, 0.1])]
    found = find_nearest(REFERENCES, VECTORS, passages, 0.35)
    assert found == MeaningMatch("sql", "smart", round(1 / math.hypot(1, 0.1), 4), 0.35, "route")
    assert found.is_near
    far = find_nearest(REFERENCES[:1], VECTORS[:1], [(0.3, 0.9)], 0.35)
    assert far is not None
    assert (far.near, far.is_near) == (0.3, False)


def test_vectors_of_another_length_are_not_compared() -> None:
    assert find_nearest(REFERENCES, VECTORS, [(1.0, 0.0, 0.0)], 0.35) is None
    assert find_nearest(REFERENCES, VECTORS, [], 0.35) is None


@pytest.mark.parametrize("near", [0.35, 0.7, 1.0])
@pytest.mark.parametrize("tier", TIERS)
def test_a_match_scores_its_tier(tier: Tier, near: float) -> None:
    score = score_match(match(near, tier), BASE.thresholds)
    assert choose_tier(score, BASE.thresholds) == tier
    assert (score.exemplar, score.near) == ("contracts", near)
    assert 0 <= score.fast <= score.smart <= 1


def test_the_trace_names_the_exemplar_and_how_near_it_is() -> None:
    router = world.router(classifier=BASE)
    decision, _ = decide(
        router, world.call("a"), OPENAI_CHAT, DecisionContext(nearest=match(0.831))
    )
    assert (decision.tier, decision.source) == ("reasoning", "classifier")
    assert world.lines(decision)[-1] == (
        "classifier: reasoning (near exemplar contracts (0.83) by meaning)"
    )
    assert decision.score is not None
    assert (decision.score.exemplar, decision.score.near) == ("contracts", 0.831)


def test_the_classifier_decides_a_turn_that_is_near_nothing() -> None:
    """The trace names the nearest, so that an operator can choose the least cosine."""
    router = world.router(classifier=BASE)
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, DecisionContext(nearest=match(0.3)))
    assert decision.tier == "fast"
    lines = world.lines(decision)
    assert "classifier: fast (it always says so)" in lines
    assert any("nearest is exemplar contracts (0.30), below 0.35" in line for line in lines)


def test_the_trace_says_why_meanings_were_not_compared() -> None:
    router = world.router(classifier=BASE)
    context = DecisionContext(uncompared="no vector within 0.3 s")
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, context)
    assert decision.tier == "fast"
    assert any("degraded (no vector within 0.3 s)" in line for line in world.lines(decision))


def test_a_match_comes_before_a_judge() -> None:
    router = world.router(classifier=BASE)
    context = DecisionContext(nearest=match(), judged=Score(1.0, 1.0), unjudged="late")
    decision, _ = decide(router, world.call("a"), OPENAI_CHAT, context)
    assert decision.tier == "reasoning"
    assert decision.confidence is not None
    assert not any("judge" in line for line in world.lines(decision))
    far = DecisionContext(nearest=match(0.1), judged=Score(0.0, 1.0))
    assert decide(router, world.call("a"), OPENAI_CHAT, far)[0].tier == "smart"


def test_a_guard_that_turns_judges_off_ignores_a_match() -> None:
    """A replay under a new guard has the match of the row, and must not use it."""
    router = world.router(guards=[{"when": {"keywords": ["secret"]}, "judge": "off"}], classifier=BASE)  # fmt: skip
    context = DecisionContext(nearest=match())
    assert decide(router, world.call("a secret"), OPENAI_CHAT, context)[0].tier == "fast"
    assert decide(router, world.call("a"), OPENAI_CHAT, context)[0].tier == "reasoning"


def test_without_a_classifier_a_match_decides_nothing() -> None:
    """So it is with exemplars by words."""
    context = DecisionContext(nearest=match())
    decision, _ = decide(world.router(), world.call("a"), OPENAI_CHAT, context)
    assert decision.source == "default"


def test_the_stored_match_counts_before_words() -> None:
    """A replay decides by the match of the row, even if words are near in its configuration."""
    words = ExemplarClassifier([Exemplar("w", "one two three", "fast")], BASE)
    context = DecisionContext(nearest=match())
    decision, _ = decide(
        world.router(classifier=words), world.call("one two three"), OPENAI_CHAT, context
    )
    assert decision.tier == "reasoning"


def test_a_conversation_rises_by_one_tier_a_turn() -> None:
    seat = Session(lab="openai", tier="fast", target="openai/luna", turns=1, calls=1)
    context = DecisionContext(nearest=match(0.9), seat=seat)
    call = world.call("a", key=Key(name="k"), user_turns=2)
    decision, _ = decide(world.router(classifier=BASE), call, OPENAI_CHAT, context)
    assert decision.tier == "smart"
