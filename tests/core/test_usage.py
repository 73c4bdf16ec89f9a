"""Five classes of tokens: their sums, and which values are counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage, merge_usage, parse_count, split_output, sum_media_tokens

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
        (None, None), ([7], None), (float("inf"), None), (float("nan"), None),
    ],
)  # fmt: skip
def test_only_a_whole_number_of_zero_or_more_is_a_count(
    value: object, expected: int | None
) -> None:
    """Any other value is unknown: never zero, never a guess."""
    count = parse_count(value)
    assert count == expected
    assert count is None or type(count) is int


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
