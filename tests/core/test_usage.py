"""Five classes of tokens: their sums, and which values are counts."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import (
    MAX_TOKENS,
    Usage,
    count_cached_media,
    is_standard_word,
    merge_usage,
    parse_count,
    parse_service_tier,
    parse_usd,
    read_counts,
    split_output,
    sum_media_tokens,
)

COUNTS = st.integers(0, 10**9)


@given(COUNTS, st.none() | COUNTS, st.dictionaries(st.sampled_from(["", "5m", "1h"]), COUNTS))
def test_the_prompt_is_the_sum_of_its_token_classes(
    fresh: int, read: int | None, written: dict[str, int]
) -> None:
    usage = Usage(input=fresh, cache_read=read, cache_write=written)
    assert usage.prompt == sum([fresh, read or 0, *written.values()])


@given(COUNTS, st.none() | COUNTS)
def test_the_completion_is_output_plus_reasoning(shown: int, reasoned: int | None) -> None:
    assert Usage(output=shown, reasoning=reasoned).completion == shown + (reasoned or 0)


def test_sums_with_an_unknown_part_stay_unknown() -> None:
    """Reasoning or cached tokens alone do not reveal the whole."""
    usage = Usage(cache_read=5, reasoning=7)
    assert (usage.prompt, usage.completion) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0), (7, 7), (7.0, 7), (-1, None), (-1.0, None), (7.5, None), (True, None), (False, None), ("7", None),
        (None, None), ([7], None), (float("inf"), None), (float("nan"), None), (MAX_TOKENS, MAX_TOKENS), (MAX_TOKENS + 1, None),
    ],
)  # fmt: skip
def test_only_a_whole_number_of_zero_or_more_is_a_count(
    value: object, expected: int | None
) -> None:
    """Any other value is unknown: never zero, never a guess."""
    count = parse_count(value)
    assert count == expected
    assert count is None or type(count) is int
    assert read_counts({"a": value}) == ({} if expected is None else {"a": expected})


@given(
    st.dictionaries(
        st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    )
)
def test_the_counts_of_an_object_are_the_counts_of_its_members(members: dict[str, object]) -> None:
    counts = read_counts(members)
    assert counts == {
        name: count for name, value in members.items() if (count := parse_count(value)) is not None
    }
    assert all(type(count) is int for count in counts.values())


@pytest.mark.parametrize("value", [None, 7, "text", [7]])
def test_a_value_that_is_no_object_has_no_counts(value: object) -> None:
    assert read_counts(value) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (0.0, "0.0"), (0.25, "0.25"), (7, "7"), (1e-7, "1E-7"), (1_000_000, "1000000"), (1_000_001, None), (-0.1, None),
        (True, None), (False, None), ("7", None), (None, None), (float("inf"), None), (float("nan"), None),
    ],
)  # fmt: skip
def test_only_a_credible_number_is_a_sum_of_usd(value: object, expected: str | None) -> None:
    usd = parse_usd(value)
    assert (None if usd is None else str(usd)) == expected
    assert usd is None or type(usd) is Decimal


@pytest.mark.parametrize(
    ("usage", "is_counted"),
    [
        (Usage(), False), (Usage(input=0), False), (Usage(output=0), False), (Usage(input=0, output=0), True),
    ],
)  # fmt: skip
def test_an_answer_is_counted_if_its_input_and_its_output_are(
    usage: Usage, is_counted: bool
) -> None:
    assert usage.has_input_and_output is is_counted


@pytest.mark.parametrize(
    ("words", "service"),
    [
        ((), None),
        ((None,), None),
        (("",), None),
        (("default",), None),
        (("priority",), "priority"),
        ((" Priority ",), "priority"),
        (("fast", "us"), "fast+us"),
        (("default", "us"), "us"),
        (("fast", "global"), "fast"),
        (("fast", "FAST"), "fast"),
        ((" Standard ",), None),
        ((7, "flex"), "flex"),
        ((7,), None),
        (("x" * 50,), "x" * 40),
    ],
)
def test_a_service_tier_has_all_words_that_are_not_the_standard_one(
    words: tuple[object, ...], service: str | None
) -> None:
    assert parse_service_tier(*words) == service


def test_a_standard_word_is_one_that_providers_use_for_the_usual_choice() -> None:
    assert is_standard_word("auto")
    assert not is_standard_word("hd")


@pytest.mark.parametrize(
    ("counts", "cache_read", "cached"),
    [
        ([("text", 4), ("audio", 6)], 10, {"cache_read_audio": 6, "cache_read_image": 0}),
        ([("text", 4), ("audio", 6)], 11, {"cache_read_audio": 6}),
        ([("audio", 2), ("audio", 3), ("image", 0)], 5, {"cache_read_audio": 5, "cache_read_image": 0}),
        ([("audio", None), ("image", 3)], 4, {"cache_read_image": 3}),
        ([("video", 3), ("audio", 1)], 9, {"cache_read_audio": 1}),
        ([], None, {}),
        ([], 0, {"cache_read_audio": 0, "cache_read_image": 0}),
    ],
)  # fmt: skip
def test_a_modality_without_a_count_has_no_cached_tokens_only_if_the_counts_add_up(
    counts: list[tuple[str, object]], cache_read: int | None, cached: dict[str, int]
) -> None:
    media = {"input_audio": 8, "input_image": 9}
    assert count_cached_media(media, counts, cache_read) == cached


@pytest.mark.parametrize(
    ("completion", "reasoning", "beyond", "split"),
    [
        (16, None, None, (16, None)),
        (16, 18, 0, (0, 16)),
        (16, 5, 0, (11, 5)),
        (5, 48, 48, (5, 48)),
        (100, 20, 20, (100, 20)),
        (100, 20, None, (80, 20)),
        (5, 48, None, (5, 48)),
        (50, 53, None, (0, 50)),
        (50, 55, None, (0, 50)),
        (110, 121, None, (0, 110)),
        (110, 122, None, (110, 122)),
        (50, 20, 3, (30, 20)),
        (0, 0, 0, (0, 0)),
    ],
)
def test_the_total_shows_if_the_completion_holds_the_reasoning(
    completion: int, reasoning: int | None, beyond: int | None, split: tuple[int, int | None]
) -> None:
    """`beyond` is the total minus prompt and completion; None without a total."""
    assert split_output(completion, reasoning, beyond) == split


def test_media_tokens_are_named_by_direction_and_modality() -> None:
    counts = [("audio", 7), ("image", 0), ("video", None), ("smell", 3), ("touch", 2), ("audio", 1)]
    assert sum_media_tokens("input", counts) == {"input_audio": 8, "input_other": 5}


def test_a_later_usage_report_without_modalities_keeps_the_earlier_ones() -> None:
    first = Usage(input=9, output=1, media={"input_audio": 7})
    assert merge_usage(first, Usage(input=9, output=5)) == Usage(
        input=9, output=5, media={"input_audio": 7}
    )
    later = Usage(input=9, output=5, media={"input_audio": 8})
    assert merge_usage(first, later) == later
