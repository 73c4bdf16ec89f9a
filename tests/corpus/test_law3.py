"""Law 3 over a part of the corpus, the same in each run; `make law3` does all of it and prints the counts."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus import asks, exceptions, groups, law3
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

SOME = 160
"""Exchanges of 1,412, beside all that a rule speaks of."""
MOST = 0.02
"""Of the exchanges of a pair, those that rules may excuse."""


@pytest.fixture(scope="module")
def rows(recordings: list[Row]) -> list[Row]:
    return recordings


@pytest.fixture(scope="module")
def some(rows: list[Row]) -> list[Row]:
    picked = {row.id for row in random.Random(3).sample(rows, SOME)}
    excused = {row.id for row in rows for rule in exceptions.RULES if rule.applies(row)}
    return [row for row in rows if row.id in picked | excused]


def test_a_client_of_each_dialect_gets_what_the_provider_said(
    rows: list[Row], some: list[Row], say: Say
) -> None:
    """Relayed and translated, whole and streamed, by the official SDK and by our own decoder.

    What rules excuse is rare, and each rule excuses something.
    """
    counts = law3.answers(some)
    say(
        f"{len(some)} answers to clients of four dialects: {sum(it.agree for it in counts.values())} agree"
    )
    assert len(counts) == 16
    assert {pair: it.failed for pair, it in counts.items() if it.failed} == {}
    every = Counter(row.dialect for row in rows)
    few = {pair: len(it.exceptions) for pair, it in counts.items()}
    assert {pair: it for pair, it in few.items() if it > MOST * every[pair[0]]} == {}
    reasons = "; ".join(why for it in counts.values() for why in it.exceptions.values())
    assert [rule.reason for rule in exceptions.RULES if rule.reason not in reasons] == []


def test_nothing_of_a_request_is_missing_in_another_dialect_unless_it_is_named(
    some: list[Row], say: Say
) -> None:
    """Text, media, calls and their results, tools and settings; else a Loss, or a refusal."""
    counts = asks.every(some)
    whole, named, refused = (
        sum(len(getattr(it, name)) for it in counts.values())
        for name in ("whole", "named", "refused")
    )
    say(f"{whole} requests whole in another dialect, {named} with losses named, {refused} refused")
    assert {pair: it.failed for pair, it in counts.items() if it.failed} == {}
    assert all(it.whole for it in counts.values())


def test_a_translated_answer_has_the_shape_of_the_sibling_s(
    corpus: Path, rows: list[Row], say: Say
) -> None:
    """The same task recorded in several dialects: objects, members and the order of events."""
    counts = groups.every(corpus, rows)
    say(f"{sum(it.agree for it in counts.values())} answers beside recordings of the same task")
    assert {pair: it.failed for pair, it in counts.items() if it.failed} == {}
    assert len(counts) == 12
