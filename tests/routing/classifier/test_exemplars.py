"""Exemplars: a prompt near one gets its tier; the classifier decides all others."""

import time

import pytest

from bench.routing import unit
from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import TIERS
from gateway.routing.classifier import heuristic
from gateway.routing.classifier.exemplars import (
    DEFAULT_NEARNESS,
    Exemplar,
    ExemplarClassifier,
    ExemplarIndex,
    find_clashes,
)
from gateway.routing.classifier.text_signals import TextScan
from tests.routing import world

EXEMPLARS = [
    Exemplar("tickets", "Draft a short reply to this ticket of a customer", "fast"),
    Exemplar("2", "Translate the following release notes into German", "fast"),
    Exemplar("contracts", "Review this contract for clauses that a court could void", "reasoning"),
    Exemplar("plans", "Write a plan for the next quarter of the sales team", "smart"),
]
BASE = world.FixedScoreClassifier(0.9, 0.95)


def score_and_explain(text: str, near: float = DEFAULT_NEARNESS) -> tuple[Score, str]:
    classifier = ExemplarClassifier(EXEMPLARS, BASE, near)
    signals = TextScan(text).signals()
    score = classifier.score(text, signals)
    return score, classifier.explain(signals, score)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Draft a short reply to this ticket of a customer", "near exemplar tickets (1.00)"),
        ("draft a SHORT reply to this ticket of a customer!", "near exemplar tickets (1.00)"),
        ("Translate the following release notes into French", "near exemplar 2 (0.84)"),
        ("Please review this contract for clauses that a court could void.", "near exemplar contracts (0.95)"),
        ("Prove that there are infinitely many primes", "it always says so"),
        ("", "it always says so"),
        ("Reply", "it always says so"),
    ],
)  # fmt: skip
def test_a_prompt_near_an_exemplar_gets_its_tier(text: str, why: str) -> None:
    """Letter case and punctuation do not matter.

    The trace names the exemplar and never quotes it.
    """
    score, explanation = score_and_explain(text)
    assert explanation == why
    if score.exemplar:
        tiers = {item.name: item.tier for item in EXEMPLARS}
        assert heuristic.choose_tier(score, BASE.thresholds) == tiers[score.exemplar]
    else:
        assert score == Score(0.9, 0.95)


def test_the_operator_sets_how_near_a_prompt_must_be() -> None:
    assert (
        score_and_explain("Translate the following release notes into French", near=0.9)[1]
        == "it always says so"
    )


@pytest.mark.parametrize("own", [Thresholds(0.53, 0.63, "a"), Thresholds(0.6, 0.4, "b"), Thresholds(0.1, 0.1, "c")], ids=str)  # fmt: skip
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("text", ["one two three four", "one two three four five"])
def test_the_score_gives_the_tier_of_the_exemplar_at_any_thresholds(
    own: Thresholds, tier: str, text: str
) -> None:
    """The score gives the exemplar's tier at any thresholds; a nearer prompt has a surer score."""
    base = world.FixedScoreClassifier(0.5, 0.5)
    base.thresholds = own
    exemplars = [next(Exemplar("x", "one two three four", item) for item in TIERS if item == tier)]
    score = ExemplarClassifier(exemplars, base).score(text, TextScan(text).signals())
    assert score.exemplar == "x"
    assert heuristic.choose_tier(score, own) == tier
    assert 0 <= score.fast <= score.smart <= 1
    assert (score.near == 1.0) == (text == "one two three four")


def test_the_trace_names_the_exemplar() -> None:
    router = world.router(classifier=ExemplarClassifier(EXEMPLARS, BASE))
    decision, _ = world.decided(router, world.call(EXEMPLARS[2].prompt))
    assert (decision.tier, decision.confidence) == ("reasoning", 1.0)
    assert world.lines(decision)[-1] == "classifier: reasoning (near exemplar contracts (1.00))"


def test_the_version_depends_on_the_exemplars_and_the_base_classifier() -> None:
    """The version also covers the classifier behind it, whose thresholds the exemplars use."""
    classifier = ExemplarClassifier(EXEMPLARS, BASE)
    assert classifier.version == ExemplarClassifier(list(EXEMPLARS), BASE).version
    assert (
        len(
            {
                classifier.version,
                ExemplarClassifier(EXEMPLARS[1:], BASE).version,
                ExemplarClassifier(EXEMPLARS, BASE, 0.7).version,
            }
        )
        == 3
    )
    assert classifier.version.startswith("fixed-1+")
    assert (classifier.name, classifier.thresholds) == ("exemplars, fixed", BASE.thresholds)


def test_words_that_most_exemplars_share_do_not_count() -> None:
    """A word that most of many exemplars share is no sign of nearness; an equal text still is."""
    texts = [f"please kindly sort list {number}" for number in range(600)]
    index = ExemplarIndex([*texts, "please kindly"])
    assert index.find_nearest("please kindly") == (600, 1.0)
    assert index.find_nearest("please sort")[1] == 0.0
    at, near = index.find_nearest("please kindly sort list 77 now")
    assert (at, near > 0.5) == (77, True)


def test_scripts_without_spaces_are_compared_character_by_character() -> None:
    index = ExemplarIndex(["把这份合同翻译成英文", "写一首关于秋天的诗"])
    at, near = index.find_nearest("把这份报告翻译成英文")
    assert (at, near > 0.5) == (0, True)


def test_exemplars_that_contradict_each_other_are_listed() -> None:
    """Two exemplars clash if their words are the same, or nearly so, and their tiers differ."""
    exemplars = [
        Exemplar("1", "Draft a short reply", "fast"),
        Exemplar("2", "draft a short reply!", "smart"),
        Exemplar("3", "Draft a short reply", "fast"),
        Exemplar("4", " ".join(f"word{at}" for at in range(60)), "fast"),
        Exemplar("5", " ".join(f"word{at}" for at in range(61)), "smart"),
        Exemplar("6", "Something else", "smart"),
    ]
    clashes = list(find_clashes(exemplars))
    assert [pair[:2] for pair in clashes] == [(0, 1), (1, 2), (3, 4)]
    assert [pair[2] == 1.0 for pair in clashes] == [True, True, False]


def test_the_search_is_quick_enough_for_every_call() -> None:
    """A search costs less than 100 fixed pieces of work: some tenths of a millisecond.

    The index has 500 exemplars, and the prompt has 400 characters.
    """
    words = "alpha beta gamma delta review contract clause summary please the of to in a".split()  # noqa: SIM905
    prompts = [" ".join(words[(at * step) % len(words)] + str(at * step % 97) for step in range(1, 12)) for at in range(500)]  # fmt: skip
    index = ExemplarIndex(prompts)
    text = " ".join(f"{words[at % len(words)]}{at % 97}" for at in range(60))[:400]

    def least(work: object) -> float:
        times = []
        for _ in range(50):
            began = time.perf_counter()
            work()  # type: ignore[operator]
            times.append(time.perf_counter() - began)
        return min(times)

    assert least(lambda: index.find_nearest(text)) < 100 * least(unit)


def test_exemplars_keep_working_with_another_base_classifier() -> None:
    """A tenant whose classifier was trained on its own calls keeps the owner's exemplars."""
    classifier = ExemplarClassifier(EXEMPLARS, BASE, 0.9).with_base(
        world.FixedScoreClassifier(0.1, 0.2)
    )
    near, far = EXEMPLARS[0].prompt, "Prove that there are infinitely many primes"
    assert classifier.score(near, TextScan(near).signals()).exemplar == "tickets"
    assert classifier.score(far, TextScan(far).signals()) == Score(0.1, 0.2)
    french = "Translate the following release notes into French"
    assert classifier.score(french, TextScan(french).signals()) == Score(0.1, 0.2)
