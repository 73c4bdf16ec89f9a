"""Law 3 over a fixed part of the corpus; `make law3` judges all of it and prints the counts."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus import asks, exceptions, groups, law3
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

SOME = 160
"""Exchanges out of 1,412, beside all to which a rule applies."""
MOST = 0.02
"""Share of the exchanges of a pair that rules may excuse."""


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
    """Native and translated, whole and streamed, by the official SDK and by our own decoder.

    Rules excuse few answers, and each rule excuses at least one.
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
    """Text, media, calls, results, tools and settings arrive, or there is a Loss or a refusal."""
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
    """Objects, members and the order of events match a recording of the same task."""
    counts = groups.every(corpus, rows)
    say(f"{sum(it.agree for it in counts.values())} answers beside recordings of the same task")
    assert {pair: it.failed for pair, it in counts.items() if it.failed} == {}
    assert len(counts) == 12
