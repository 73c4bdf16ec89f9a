"""Broken answers over a part of the corpus; `make law3` breaks all of it."""

import random

import pytest

from gateway.dialects import DIALECTS
from tests.corpus import mutations
from tests.corpus.conftest import Say
from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Row

SAMPLE_SIZE = 60
"""Number of exchanges, taken from those with an end."""


@pytest.fixture(scope="module")
def sample(recordings: list[Row]) -> list[Row]:
    return random.Random(5).sample([*filter(mutations.can_mutate, recordings)], SAMPLE_SIZE)


def test_no_client_gets_a_broken_answer_as_a_clean_one(sample: list[Row], say: Say) -> None:
    """The finish is missing or unknown, an error stands at some level, or the stream is cut."""
    number, failures = mutations.find_clean(sample)
    say(f"{number} broken answers, {len(failures)} of them clean")
    assert failures == []


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, GEMINI])
def test_the_judge_recognises_a_clean_answer(sample: list[Row], dialect: str) -> None:
    """The judge recognizes a clean answer."""
    for row in (row_ for row_ in sample if row_.dialect == dialect):
        whole = mutations.Mutation("none", row.body)
        verdicts = [*mutations.judge(row, whole, row.dialect)]
        assert [verdict.text for verdict in verdicts] == [
            "none: the gateway counts it as complete"
        ], row.id


def test_most_unbroken_translated_answers_end_cleanly(sample: list[Row]) -> None:
    """Answers that were cut at their token limit are the exception."""
    rows = [row for row in sample if row.dialect == GEMINI]
    whole = [mutations.Mutation("none", row.body) for row in rows]
    ends = [
        [mutation.text for mutation in mutations.judge(row, mutation, client)]
        for row, mutation in zip(rows, whole, strict=True)
        for client in DIALECTS.keys() - {GEMINI}
    ]
    clean = [end for end in ends if "none: the client gets a clean end" in end]
    assert len(clean) > len(ends) / 2
