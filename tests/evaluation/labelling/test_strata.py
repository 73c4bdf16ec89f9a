"""Test the sample of prompts: its strata, and what it depends on."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evaluation.labelling.strata import LabelCandidate, allocate, draw, name_stratum


def candidates(**sizes: int) -> list[LabelCandidate]:
    return [
        LabelCandidate(digest=f"{name}{number}", call=f"{number}", stratum=name)
        for name, size in sizes.items()
        for number in range(size)
    ]


@pytest.mark.parametrize(
    ("score", "name"),
    [
        (None, "no score"), (0.0, "0.0 to 0.2"), (0.2, "0.2 to 0.4"), (0.59, "0.4 to 0.6"),
        (0.8, "0.8 to 1.0"), (1.0, "0.8 to 1.0"),
    ],
)  # fmt: skip
def test_a_score_has_its_stratum(score: float | None, name: str) -> None:
    assert name_stratum(score) == name


def test_strata_share_evenly_and_small_ones_give_what_they_have() -> None:
    assert allocate({"a": 3, "b": 50, "c": 50}, 23) == {"a": 3, "b": 10, "c": 10}
    assert allocate({"a": 3, "b": 5}, 2) == {"a": 1, "b": 1}
    assert allocate({"a": 1, "b": 1}, 9) == {"a": 1, "b": 1}
    assert allocate({}, 9) == {}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 40)), st.integers(0, 120))
def test_an_allocation_has_as_many_as_asked_for_or_all(sizes: dict[str, int], count: int) -> None:
    allocation = allocate(sizes, count)
    assert sum(allocation.values()) == min(count, sum(sizes.values()))
    assert all(0 <= allocation[name] <= size for name, size in sizes.items())
    given_counts = [allocation[name] for name, size in sizes.items() if allocation[name] < size]
    assert not given_counts or max(allocation.values()) - min(given_counts) <= 1


def test_the_same_seed_draws_the_same_prompts_whatever_their_order() -> None:
    members = candidates(a=30, b=6)
    drawn = draw(members, 16, 1)
    assert drawn == draw(members[::-1], 16, 1)
    assert drawn != draw(members, 16, 2)
    assert Counter(item.candidate.stratum for item in drawn) == {"a": 10, "b": 6}
    assert {item.probability for item in drawn if item.candidate.stratum == "a"} == {1 / 3}
    assert {item.stratum_prompts for item in drawn} == {30, 6}


def test_a_sample_goes_on_with_the_prompts_that_have_no_label() -> None:
    members = candidates(a=30, b=30)
    whole = {item.candidate.digest for item in draw(members, 20, 1)}
    done = {item.candidate.digest for item in draw(members, 20, 1)[:9]}
    rest = {item.candidate.digest for item in draw(members, 20, 1, done)}
    assert rest == whole - done
    assert draw(members, 20, 1, whole) == []
    other = {item.candidate.digest for item in draw(members, 60, 2)[:50]}
    # What another seed has labelled counts too, as far as its strata need it.
    assert not {item.candidate.digest for item in draw(members, 60, 1, other)}.intersection(other)


def test_every_prompt_of_a_stratum_is_as_likely() -> None:
    members = candidates(a=10)
    counts = Counter(
        item.candidate.digest for seed in range(2_000) for item in draw(members, 3, seed)
    )
    assert all(520 < count < 680 for count in counts.values())
    assert len(counts) == 10


def test_a_sample_that_ends_early_has_all_strata() -> None:
    first = draw(candidates(a=100, b=100), 100, 3)[:40]
    assert 10 < Counter(item.candidate.stratum for item in first)["a"] < 30
