"""Two questions have one form only if nothing but the phrasing differs."""

import pytest

from gateway.cache.semantic.question_form import parse_question_form
from tests.cache.semantic.pairs import paraphrases, traps

LEAST = 50
"""Number of two hundred paraphrases that have one form, as docs/cache.md says."""


def same(text: str, other_text: str) -> bool:
    form = parse_question_form(text)
    return form is not None and form == parse_question_form(other_text)


@pytest.mark.parametrize(("kind", "text", "other_text"), traps())
def test_questions_that_only_look_alike_have_different_forms(
    kind: str, text: str, other_text: str
) -> None:
    """The pairs differ in what they ask.

    Numbers, units, dates, negations, names, comparatives, order, code, languages, wording.
    """
    assert not same(text, other_text), kind


def test_a_quarter_of_the_paraphrases_share_a_form() -> None:
    assert sum(same(*pair) for pair in paraphrases()) >= LEAST


@pytest.mark.parametrize(
    ("text", "other_text"),
    [
        ("What's the capital of Peru?", "What is the capital of Peru"),
        ("Hi, could you please tell me what osmosis is?", "What is osmosis?"),
        ("Explain osmosis to me.", "What\u2019s osmosis?"),
        ("What is the best way to learn chess?", "how can I learn chess?"),
        ("Please write me a poem\nabout 3 cats", "Write a poem\nabout 3 cats"),
    ],
)
def test_different_phrasings_of_a_question_share_a_form(text: str, other_text: str) -> None:
    assert same(text, other_text)


@pytest.mark.parametrize(
    ("text", "other_text"),
    [
        ("What is 1 + 1?", "What is 1\u200b + 1?"),
        ("What is `a b`?", "What is `a  b`?"),
        ("What is 5!?", "What is 5?"),
        ("How do I lose weight?", "What is the worst way to lose weight?"),
        ("Explain it", "What is it?"),
        ("How do you store my password?", "How do I store my password?"),
        ("How do I open the file?", "How do I open THE file?"),
        ("Translate this: please stop", "Translate this: stop"),
    ],
)
def test_different_questions_have_different_forms(text: str, other_text: str) -> None:
    """An invisible sign, a space in code and a capital letter count too."""
    assert not same(text, other_text)


@pytest.mark.parametrize(
    "text", ["", " \n ", "Warum ist der Himmel blau?", "Fix this", "what is " + "x" * 400]
)
def test_empty_long_and_unknown_phrasings_have_no_form(text: str) -> None:
    """Texts that are empty, long or phrased in an unknown way get no vector."""
    assert parse_question_form(text) is None
