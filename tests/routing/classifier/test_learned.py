"""The learned classifier: bounded, equal to its numbers, and silent about the text."""

from math import sqrt, sumprod

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evaluation.training import refit
from gateway.routing.classifier import heuristic, text_features
from gateway.routing.classifier.learned import (
    LearnedClassifier,
    compute_logit,
    logistic,
)
from gateway.routing.classifier.text_features import PLACES, TextFeatures
from gateway.routing.classifier.text_signals import TextScan, read_signals
from tests.evaluation.training import lesson


@pytest.fixture(scope="module")
def learned() -> LearnedClassifier:
    return LearnedClassifier(lesson.learnt_with_placed().model)


WITH_OWN_LABELS = LearnedClassifier(refit.refit(lesson.learnt().model, lesson.rows()[:160]))
SOME_WORDS = st.lists(
    st.sampled_from(
        [*lesson.HARD, *lesson.EASY, *lesson.PLAIN, "12", "?", "é", "证", "x" * 40, "\n", "'s"]
    )
)


def test_the_learned_classifier_reads_the_text(learned: LearnedClassifier) -> None:
    """A classifier that reads the text has its scores kept in rows."""
    classifier: heuristic.Classifier = learned
    assert classifier.name == "learned"
    assert classifier.version == learned.model.id == classifier.thresholds.id
    assert heuristic.reads_text(classifier)


@given(text=st.text(max_size=400))
def test_scores_are_probabilities_in_order(learned: LearnedClassifier, text: str) -> None:
    score = learned.score(text, read_signals(text))
    assert 0 < score.fast <= score.smart <= 1


@pytest.mark.parametrize(
    "text", ["", "hi", "x" * 9000, "!" * 9000, "a " * 9000, "\ud800", "é" * 4000, "证" * 4000]
)
def test_any_text_has_a_score(learned: LearnedClassifier, text: str) -> None:
    score = learned.score(text, read_signals(text))
    assert 0 < score.fast <= score.smart <= 1
    assert learned.score(text, read_signals(text)) == score


def test_the_middle_of_a_long_text_is_not_read(learned: LearnedClassifier) -> None:
    """The middle of a long text counts by its length alone."""
    first = "start " * 400 + "tensor " * 2000 + "end " * 400
    second = "start " * 400 + "garden " * 2000 + "end " * 400
    assert len(first) == len(second)
    assert learned.score(first, read_signals(first)) == learned.score(second, read_signals(second))


@given(st.lists(st.sampled_from(lesson.HARD + lesson.EASY + lesson.PLAIN), min_size=1))
def test_the_explanation_never_quotes_the_prompt(
    learned: LearnedClassifier, words: list[str]
) -> None:
    """People who may not see prompts can read a trace."""
    text = " ".join(words)
    explanation = learned.explain(read_signals(text), learned.score(text, read_signals(text)))
    assert not any(word in explanation for word in words)


def test_the_explanation_shows_the_formula_and_the_effect_of_the_words(
    learned: LearnedClassifier,
) -> None:
    text = " ".join(lesson.HARD)
    explanation = learned.explain(read_signals(text), learned.score(text, read_signals(text)))
    assert explanation.startswith("fast .")
    assert "6 words" in explanation
    assert "its words say harder (+" in explanation


def test_a_score_of_another_classifier_gets_the_explanation_of_the_formula(
    learned: LearnedClassifier,
) -> None:
    signals = read_signals("hi")
    score = heuristic.HeuristicClassifier().score("hi", signals)
    assert learned.explain(signals, score) == heuristic.explain(signals, score)


def test_hard_words_lower_the_score_and_a_proof_lowers_it_further(
    learned: LearnedClassifier,
) -> None:
    easy, hard = " ".join(lesson.EASY), " ".join(lesson.HARD)
    proof = f"prove that {hard}"
    scores = [learned.score(text, read_signals(text)) for text in (easy, hard, proof)]
    assert scores[0].fast > scores[1].fast
    assert scores[1].smart > scores[2].smart


def test_a_logit_of_any_size_is_a_probability() -> None:
    assert logistic(1e9) <= 1
    assert logistic(-1e9) > 0
    assert logistic(compute_logit(0.3)) == pytest.approx(0.3)
    assert compute_logit(1.0) > 10


@given(words=SOME_WORDS, own=st.booleans())
def test_a_text_has_the_same_score_as_its_features(
    learned: LearnedClassifier, words: list[str], own: bool
) -> None:
    """So it has with labels of the operator."""
    classifier, text = WITH_OWN_LABELS if own else learned, " ".join(words)
    signals = read_signals(text)
    features = text_features.read_features(TextScan(text), signals)
    assert classifier.score(text, signals) == classifier.score_features(features, signals)


@given(words=SOME_WORDS, own=st.booleans())
def test_logits_are_the_sums_that_the_model_file_defines(
    learned: LearnedClassifier, words: list[str], own: bool
) -> None:
    """The test computes each logit term by term, from the tables in the file."""
    classifier, text = WITH_OWN_LABELS if own else learned, " ".join(words)
    model, signals = classifier.model, read_signals(text)
    features = text_features.read_features(TextScan(text), signals)
    places, numbers = features.places, features.numbers
    unit = 1 / sqrt(len(places) or 1)
    steps = memoryview(model.table).cast("b")
    base = heuristic.HeuristicClassifier().score("", signals)
    fast, smart = model.fast_fails, model.smart_fails
    need = (
        fast.step * unit * sum(steps[place] for place in places)
        + sumprod(fast.weights, numbers)
        - fast.usual
        - fast.formula * compute_logit(base.fast)
    )
    if model.own_fails is not None:
        own_steps = memoryview(model.own_table).cast("b")
        own_need = model.own_fails.step * unit * sum(own_steps[place] for place in places)
        own_need += sumprod(model.own_fails.weights, numbers) - model.own_fails.usual
        need = model.base_share * need + (1 - model.base_share) * own_need
    logits = classifier.compute_logits(features, signals)
    assert logits.fast == pytest.approx(fast.level + need)
    assert logits.smart == pytest.approx(
        smart.level
        + smart.step * unit * sum(steps[PLACES + place] for place in places)
        + sumprod(smart.weights, numbers)
        - smart.usual
        + smart.formula * compute_logit((1 - base.smart) / (1 - base.fast))
    )


def test_average_numbers_do_not_move_the_score(learned: LearnedClassifier) -> None:
    model = learned.model
    features, signals = TextFeatures(set(), model.means), read_signals("hi")
    for head in (model.fast_fails, model.smart_fails):
        assert sumprod(head.weights, model.means) == pytest.approx(head.usual, abs=1e-4)
    assert learned.compute_logits(features, signals).number_effect == pytest.approx(0, abs=1e-4)


def test_unknown_words_have_no_effect(
    learned: LearnedClassifier,
) -> None:
    signals = read_signals("hi")
    empty = msgspec.structs.replace(learned.model, table=bytes(2 * PLACES))
    features = TextFeatures({1, 2, 3}, text_features.read_features(TextScan("hi"), signals).numbers)
    assert LearnedClassifier(empty).compute_logits(features, signals).word_effect == 0
