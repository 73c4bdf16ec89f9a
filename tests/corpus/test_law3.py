"""Law 3 over a fixed part of the corpus; `make law3` judges all of it and prints the counts."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus import exceptions, groups, law3, translated_requests
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

SAMPLE_SIZE = 160
"""Exchanges out of 1,412, beside all to which a rule applies."""
MAX_EXCUSED_SHARE = 0.02
"""Share of the exchanges of a pair that rules may excuse."""


@pytest.fixture(scope="module")
def rows(recordings: list[Row]) -> list[Row]:
    return recordings


@pytest.fixture(scope="module")
def sample(rows: list[Row]) -> list[Row]:
    picked = {row.id for row in random.Random(3).sample(rows, SAMPLE_SIZE)}
    excused = {row.id for row in rows for rule in exceptions.RULES if rule.applies(row)}
    return [row for row in rows if row.id in picked | excused]


def test_a_client_of_each_dialect_gets_what_the_provider_sent(
    rows: list[Row], sample: list[Row], say: Say
) -> None:
    """Native and translated, whole and streamed, by the official SDK and by our own decoder.

    Rules excuse few answers, and each rule excuses at least one.
    """
    counts = law3.judge_answers(sample)
    say(
        f"{len(sample)} answers to clients of four dialects: {sum(count.agree for count in counts.values())} agree"
    )
    assert len(counts) == 16
    assert {pair: count.failed for pair, count in counts.items() if count.failed} == {}
    every = Counter(row.dialect for row in rows)
    few = {pair: len(count.exceptions) for pair, count in counts.items()}
    assert {
        pair: number for pair, number in few.items() if number > MAX_EXCUSED_SHARE * every[pair[0]]
    } == {}
    reasons = "; ".join(why for count in counts.values() for why in count.exceptions.values())
    assert [rule.reason for rule in exceptions.RULES if rule.reason not in reasons] == []


def test_a_translated_request_misses_nothing_that_is_not_named(sample: list[Row], say: Say) -> None:
    """Text, media, calls, results, tools and settings arrive, or there is a Loss or a refusal."""
    counts = translated_requests.translate_all(sample)
    whole, named, refused = (
        sum(len(getattr(count, name)) for count in counts.values())
        for name in ("whole", "named", "refused")
    )
    say(f"{whole} requests whole in another dialect, {named} with losses named, {refused} refused")
    assert {pair: count.failed for pair, count in counts.items() if count.failed} == {}
    assert all(count.whole for count in counts.values())


def test_a_translated_answer_has_the_shape_of_a_native_one(
    corpus: Path, rows: list[Row], say: Say
) -> None:
    """Objects, members and the order of events match a recording of the same task."""
    counts = groups.judge_all(corpus, rows)
    say(
        f"{sum(count.agree for count in counts.values())} answers beside recordings of the same task"
    )
    assert {pair: count.failed for pair, count in counts.items() if count.failed} == {}
    assert len(counts) == 12
