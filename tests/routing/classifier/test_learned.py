"""The learned classifier at work: bounded, quick to read, and silent about the text."""

from math import log, sumprod

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evaluation.training import refit
from gateway.routing.classifier import heuristic, text_features
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.learned import LearnedClassifier, logistic
from gateway.routing.classifier.text_features import SHAPE_NAMES
from gateway.routing.classifier.text_signals import TextScan, read_signals
from tests.evaluation.training import lesson


@pytest.fixture(scope="module")
def learned() -> LearnedClassifier:
    return LearnedClassifier(lesson.learnt()[0])


def test_it_is_a_classifier(learned: LearnedClassifier) -> None:
    """Which reads the text: rows keep its scores."""
    known: heuristic.Classifier = learned
    assert known.name == "learned"
    assert known.version == learned.model.id == known.thresholds.id
    assert heuristic.reads_text(known)


@given(text=st.text(max_size=400))
def test_scores_are_probabilities_in_order(learned: LearnedClassifier, text: str) -> None:
    score = learned.score(text, read_signals(text))
    assert 0 < score.fast <= score.smart <= 1


@pytest.mark.parametrize(
    "text", ["", "hi", "x" * 9000, "!" * 9000, "a " * 9000, "\ud800", "é" * 4000]
)
def test_any_text_has_a_score(learned: LearnedClassifier, text: str) -> None:
    score = learned.score(text, read_signals(text))
    assert 0 < score.fast <= score.smart <= 1
    assert learned.score(text, read_signals(text)) == score


def test_nothing_is_laid_out_before_the_first_text() -> None:
    """A gateway that classifies nothing has the bytes alone."""
    quiet = LearnedClassifier(lesson.learnt()[0])
    before = set(vars(quiet))
    quiet.score("Hello.", read_signals("Hello."))
    assert set(vars(quiet)) - before == {"_lanes", "_forest", "_number_weights"}


def test_what_is_beyond_the_cut_is_not_read(learned: LearnedClassifier) -> None:
    """The middle of a long text counts by its length alone."""
    one = "start " * 400 + "tensor " * 2000 + "end " * 400
    two = "start " * 400 + "garden " * 2000 + "end " * 400
    assert len(one) == len(two)
    assert learned.score(one, read_signals(one)) == learned.score(two, read_signals(two))


@given(st.lists(st.sampled_from(lesson.HARD + lesson.EASY + lesson.PLAIN), min_size=1))
def test_why_never_quotes_the_prompt(learned: LearnedClassifier, words: list[str]) -> None:
    """A trace is shown to people who may not see prompts."""
    text = " ".join(words)
    said = learned.explain(read_signals(text), learned.score(text, read_signals(text)))
    assert not any(word in said for word in words)


def test_why_tells_the_prior_the_parts_and_how_familiar_it_is(learned: LearnedClassifier) -> None:
    text = " ".join(lesson.HARD)
    said = learned.explain(read_signals(text), learned.score(text, read_signals(text)))
    assert said.startswith("fast .")
    assert "6 words" in said
    assert "its wording says harder (+0." in said
    assert "% like prompts that it has learnt from" in said
    assert not any(source in said for source in learned.model.sources)


def test_why_of_a_score_that_is_not_its_own_is_the_prior_s(learned: LearnedClassifier) -> None:
    signals = read_signals("hi")
    score = heuristic.HeuristicClassifier().score("hi", signals)
    assert learned.explain(signals, score) == heuristic.explain(signals, score)


def test_small_talk_stays_surer_than_what_it_has_learnt(learned: LearnedClassifier) -> None:
    """The prior speaks where the data do not."""
    hello, proof = "hello", "prove it"
    assert (
        learned.score(hello, read_signals(hello)).fast
        > learned.score(proof, read_signals(proof)).fast
    )


def test_a_logit_of_any_size_is_a_probability() -> None:
    assert logistic(1e9) <= 1
    assert logistic(-1e9) > 0


OWNED = LearnedClassifier(refit.refit(lesson.learnt()[0], lesson.rows()[:160]))
some = st.lists(
    st.sampled_from(
        [*lesson.HARD, *lesson.EASY, *lesson.PLAIN, "12", "?", "é", "x" * 40, "\n", "'s"]
    )
)


@given(words=some, own=st.booleans())
def test_a_text_has_the_score_of_its_reading(
    learned: LearnedClassifier, words: list[str], own: bool
) -> None:
    """However its terms are looked up, and with an owner's labels too."""
    classifier, text = OWNED if own else learned, " ".join(words)
    signals = read_signals(text)
    reading = text_features.read_features(TextScan(text), signals)
    assert classifier.score(text, signals) == classifier.score_features(reading, signals)


@given(words=some, own=st.booleans())
def test_lanes_are_sums_over_terms(learned: LearnedClassifier, words: list[str], own: bool) -> None:
    """As they stand in the artefact, lane after lane; the last two count words."""
    artefact = (OWNED if own else learned).model
    text = " ".join(words)
    reading = text_features.read_features(TextScan(text), read_signals(text))
    sums, count = (OWNED if own else learned)._lanes.sum_features(reading)
    places = {term: at for at, term in enumerate(files.unpack_terms(artefact.terms))}
    rows = [at for term, at in places.items() if term in reading.terms]
    table = memoryview(artefact.table).cast("b")
    expected = [sum(table[lane * artefact.size + at] for at in rows) for lane in range(7)]
    if own:
        every = (*places, *files.unpack_terms(artefact.more_terms))
        column = memoryview(artefact.own_table).cast("b")
        expected.append(sum(column[at] for at, term in enumerate(every) if term in reading.terms))
    known = sum(artefact.known[(word & 0xFFFF) >> 3] >> (word & 7) & 1 for word in reading.words)
    assert [*sums] == [*expected, len(reading.words), known]
    assert count == len(reading.terms)


@pytest.mark.parametrize(("step", "most"), [(b"\x7f", 127), (b"\x80", -128)])
def test_no_text_is_too_long_for_a_lane(step: bytes, most: int) -> None:
    """A lane has room for all terms that a text may have, each at its most."""
    artefact = lesson.learnt()[0]
    terms = {*range(5000)}
    largest = msgspec.structs.replace(
        artefact, size=5000, terms=files.pack_terms(sorted(terms)), table=step * 35_000
    )
    sums, count = LearnedClassifier(largest)._lanes.sum_features(
        text_features.TextFeatures(terms, frozenset(), ())
    )
    assert [*sums] == [most * 5000] * 7 + [0, 0]
    assert count == 5000


def test_tokens_that_are_kept_are_few() -> None:
    """What is kept of a token is forgotten when there are too many, and says the same again."""
    learned = LearnedClassifier(lesson.learnt()[0])
    text = " ".join((*lesson.HARD, "y" * 40))
    before = learned.score(text, read_signals(text))
    most, letters = 0, str.maketrans("0123456789", "abcdefghij")
    for at in range(50):
        more = " ".join(f"w{at * 300 + number}".translate(letters) for number in range(300))
        learned.score(more, read_signals(more))
        most = max(most, len(learned._lanes._token_sums))
    assert 3_500 < most <= 4_096
    assert learned.score(text, read_signals(text)) == before


numbers = st.lists(
    st.just(0) | st.floats(0, 300), min_size=len(SHAPE_NAMES), max_size=len(SHAPE_NAMES)
)


@given(numbers.filter(any))
def test_a_form_is_in_spreads_from_the_mean_and_in_no_more_than_four(
    learned: LearnedClassifier, numbers: list[float]
) -> None:
    """What is 0 adds nothing beside that; and what comes of it is what was trained."""
    artefact = learned.model
    reading = text_features.TextFeatures(frozenset(), frozenset(), numbers)
    far = [
        max(min((number - mean) / wide, 4.0), -4.0)
        for number, mean, wide in zip(numbers, artefact.means, artefact.spreads, strict=True)
    ]
    known = msgspec.structs.replace(artefact, known=b"\xff" * len(artefact.known))
    plain = LearnedClassifier(msgspec.structs.replace(known, trees=(), forest=b""))
    word = reading._replace(words=frozenset({1}))
    need, _ = plain.estimate_need(word, read_signals("hi"))
    _, _, (wording, shaped, familiar, _, _) = plain._combine_features(word, read_signals("hi"))
    assert (wording, familiar) == (0, 0)
    assert shaped == pytest.approx(sumprod(artefact.forms[0], far), rel=1e-9, abs=1e-9)
    assert need == pytest.approx(shaped + prior_of("hi", artefact), abs=1e-9)


def prior_of(text: str, artefact: files.ClassifierModel) -> float:
    fast = heuristic.HeuristicClassifier().score(text, read_signals(text)).fast
    return -artefact.mix.prior * log(fast / (1 - fast))
