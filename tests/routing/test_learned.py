"""The learned classifier at work: bounded, quick to read, and silent about the text."""

from itertools import compress
from math import sumprod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import prior
from gateway.routing.learned import Learned, logistic
from gateway.routing.shape import NAMES
from gateway.routing.signals import read
from tests.study.train import lesson


@pytest.fixture(scope="module")
def learned() -> Learned:
    return Learned(lesson.learnt()[0])


def test_it_is_a_classifier(learned: Learned) -> None:
    """Which reads the text: rows keep its scores."""
    known: prior.Classifier = learned
    assert known.name == "learned"
    assert known.version == learned.artefact.id == known.thresholds.id
    assert prior.reads(known)


@given(text=st.text(max_size=400))
def test_scores_are_probabilities_in_order(learned: Learned, text: str) -> None:
    score = learned.score(text, read(text))
    assert 0 < score.fast <= score.smart <= 1


@pytest.mark.parametrize(
    "text", ["", "hi", "x" * 9000, "!" * 9000, "a " * 9000, "\ud800", "é" * 4000]
)
def test_any_text_has_a_score(learned: Learned, text: str) -> None:
    score = learned.score(text, read(text))
    assert 0 < score.fast <= score.smart <= 1
    assert learned.score(text, read(text)) == score


def test_nothing_is_laid_out_before_the_first_text() -> None:
    """A gateway that classifies nothing has the bytes alone."""
    quiet = Learned(lesson.learnt()[0])
    before = set(vars(quiet))
    quiet.score("Hello.", read("Hello."))
    assert set(vars(quiet)) - before == {"_sums", "_forest", "_known"}


def test_what_is_beyond_the_cut_is_not_read(learned: Learned) -> None:
    """The middle of a long text counts by its length alone."""
    one = "start " * 400 + "tensor " * 2000 + "end " * 400
    two = "start " * 400 + "garden " * 2000 + "end " * 400
    assert len(one) == len(two)
    assert learned.score(one, read(one)) == learned.score(two, read(two))


@given(st.lists(st.sampled_from(lesson.HARD + lesson.EASY + lesson.PLAIN), min_size=1))
def test_why_never_quotes_the_prompt(learned: Learned, words: list[str]) -> None:
    """A trace is shown to people who may not see prompts."""
    text = " ".join(words)
    said = learned.why(read(text), learned.score(text, read(text)))
    assert not any(word in said for word in words)


def test_why_tells_the_prior_the_parts_and_what_it_is_like(learned: Learned) -> None:
    text = " ".join(lesson.HARD)
    said = learned.why(read(text), learned.score(text, read(text)))
    assert said.startswith("fast .")
    assert "6 words" in said
    assert "its wording says harder (+0." in said
    assert any(f"like {source} " in said for source in learned.artefact.sources)


def test_why_of_a_score_that_is_not_its_own_is_the_prior_s(learned: Learned) -> None:
    signals = read("hi")
    score = prior.Prior().score("hi", signals)
    assert learned.why(signals, score) == prior.why(signals, score)


def test_small_talk_stays_surer_than_what_it_has_learnt(learned: Learned) -> None:
    """The prior speaks where the data do not."""
    hello, proof = "hello", "prove it"
    assert learned.score(hello, read(hello)).fast > learned.score(proof, read(proof)).fast


def test_a_logit_of_any_size_is_a_probability() -> None:
    assert logistic(1e9) <= 1
    assert logistic(-1e9) > 0


@given(st.lists(st.just(0) | st.floats(0, 300), min_size=len(NAMES), max_size=len(NAMES)))
def test_what_is_0_adds_nothing_to_a_form(learned: Learned, numbers: list[float]) -> None:
    """To the last bit: a sum over what is not 0 is the sum over all."""
    whole = [number / 7 for number in numbers]
    some = [*compress(whole, numbers)]
    for weights in (*learned.artefact.forms, learned.artefact.beats[:-1]):
        assert sumprod(compress(weights, numbers), some) == sumprod(weights, whole)
