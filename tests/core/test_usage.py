"""Five classes of tokens: their sums, and what counts as a count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage, count

COUNTS = st.integers(0, 10**9)


@given(COUNTS, st.none() | COUNTS, st.dictionaries(st.sampled_from(["", "5m", "1h"]), COUNTS))
def test_the_prompt_is_the_sum_of_its_classes(
    fresh: int, read: int | None, written: dict[str, int]
) -> None:
    usage = Usage(input=fresh, cache_read=read, cache_write=written)
    assert usage.prompt == sum([fresh, read or 0, *written.values()])


@given(COUNTS, st.none() | COUNTS)
def test_the_completion_is_what_was_shown_and_what_was_reasoned(
    shown: int, reasoned: int | None
) -> None:
    assert Usage(output=shown, reasoning=reasoned).completion == shown + (reasoned or 0)


def test_the_unknown_stays_unknown() -> None:
    """Reasoning or cached tokens alone say nothing of the whole."""
    usage = Usage(cache_read=5, reasoning=7)
    assert (usage.prompt, usage.completion) == (None, None)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0, 0), (7, 7), (7.0, 7), (-1, None), (-1.0, None), (7.5, None), (True, None), (False, None), ("7", None),
        (None, None), ([7], None), (float("inf"), None), (float("nan"), None),
    ],
)  # fmt: skip
def test_a_count_is_a_whole_number_that_is_not_negative(value: object, read: int | None) -> None:
    """Anything else is unknown: never zero, never a guess."""
    found = count(value)
    assert found == read
    assert found is None or type(found) is int
