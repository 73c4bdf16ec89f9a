"""Broken answers over a part of the corpus; `make law3` breaks all of it."""

import random

import pytest

from gateway.dialects import DIALECTS
from tests.corpus import mutations
from tests.corpus.conftest import Say
from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Row

SOME = 60
"""Number of exchanges, taken from those with an end."""


@pytest.fixture(scope="module")
def some(recordings: list[Row]) -> list[Row]:
    return random.Random(5).sample([*filter(mutations.can_mutate, recordings)], SOME)


def test_no_client_gets_a_broken_answer_as_a_clean_one(some: list[Row], say: Say) -> None:
    """The finish is missing or unknown, an error stands at some level, or the stream is cut."""
    number, failures = mutations.find_clean(some)
    say(f"{number} broken answers, {len(failures)} of them clean")
    assert failures == []


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, GEMINI])
def test_an_answer_that_is_not_broken_is_clean(some: list[Row], dialect: str) -> None:
    """The judge recognizes a clean answer."""
    for row in (it for it in some if it.dialect == dialect):
        whole = mutations.Mutation("none", row.body)
        found = [*mutations.judge(row, whole, row.dialect)]
        assert [it.text for it in found] == ["none: the gateway counts it as complete"], row.id


def test_a_translated_answer_that_is_not_broken_ends_well(some: list[Row]) -> None:
    """Answers that were cut at their token limit are the exception."""
    rows = [row for row in some if row.dialect == GEMINI]
    whole = [mutations.Mutation("none", row.body) for row in rows]
    ends = [
        [it.text for it in mutations.judge(row, it, client)]
        for row, it in zip(rows, whole, strict=True)
        for client in DIALECTS.keys() - {GEMINI}
    ]
    clean = [it for it in ends if "none: the client gets a clean end" in it]
    assert len(clean) > len(ends) / 2
