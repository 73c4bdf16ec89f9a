"""Token estimates in a row, for tokens that no provider counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import token_estimate
from gateway.core.token_estimate import fill_usage
from gateway.core.usage import Usage

COUNTS = st.none() | st.integers(0, 10**6)
REPORTS = st.none() | st.builds(
    Usage,
    input=COUNTS,
    cache_read=COUNTS,
    output=COUNTS,
    reasoning=COUNTS,
    tools=st.sampled_from([{}, {"web_search": 1}]),
    service=st.sampled_from([None, "flex"]),
)


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (38, 10), (39, 11), (3800, 1000)])
def test_ten_tokens_are_38_bytes_and_any_content_is_at_least_one_token(
    size: int, tokens: int
) -> None:
    assert token_estimate.estimate_tokens(size) == tokens


CASES = [
    (Usage(input=5, output=2), 900, True, Usage(input=5, output=2), "provider"),
    (Usage(input=5, output=2, reasoning=9), 900, True, Usage(input=5, output=2, reasoning=9), "provider"),
    # No usage was reported: the lengths of prompt and answer count.
    (None, 38, True, Usage(input=7, output=10), "estimate"),
    (None, 38, False, Usage(input=7, output=10), "estimate"),
    # The call ended before any content: zero output is a fact.
    (None, 0, False, Usage(input=7, output=0), "estimate"),
    # The client left while a whole answer was made: its length is unknown.
    (None, None, False, Usage(input=7), "estimate"),
    # The Messages API reports input first; the report of output was to come at the end.
    (Usage(input=5, cache_read=90), 38, False, Usage(input=5, cache_read=90, output=10), "partial"),
    (Usage(input=5, cache_read=90), None, False, Usage(input=5, cache_read=90), "partial"),
    # Gemini reports running totals: content after the last report counts too.
    (Usage(input=5, output=2), 38, False, Usage(input=5, output=10), "partial"),
    (Usage(input=5, output=50), 38, False, Usage(input=5, output=50), "partial"),
    # Reported reasoning is part of the content that came.
    (Usage(input=5, output=2, reasoning=6), 38, False, Usage(input=5, output=4, reasoning=6), "partial"),
    (Usage(input=5, output=2), None, False, Usage(input=5, output=2), "partial"),
    # A complete answer reported one side only.
    (Usage(output=3), 38, True, Usage(input=7, output=3), "partial"),
    (Usage(input=5, reasoning=3), 38, True, Usage(input=5, output=10, reasoning=3), "partial"),
    # Service tier and tools stand, however the tokens were counted.
    (Usage(service="flex", tools={"web_search": 1}), 38, False, Usage(input=7, output=10, service="flex", tools={"web_search": 1}), "estimate"),
]  # fmt: skip


@pytest.mark.parametrize(("report", "size", "complete", "filled", "source"), CASES)
def test_reported_usage_counts_and_the_rest_is_estimated(
    report: Usage | None, size: int | None, complete: bool, filled: Usage, source: str
) -> None:
    assert fill_usage(report, prompt_tokens=7, content_bytes=size, is_complete=complete) == (
        filled,
        source,
    )


@given(REPORTS, st.none() | st.integers(0, 10**6), st.booleans())
def test_the_estimate_keeps_all_reported_usage_and_invents_no_reasoning(
    report: Usage | None, size: int | None, complete: bool
) -> None:
    reported = report or Usage()
    filled, source = fill_usage(report, prompt_tokens=7, content_bytes=size, is_complete=complete)
    assert filled.input == (7 if reported.input is None else reported.input)
    assert (filled.reasoning, filled.cache_read) == (reported.reasoning, reported.cache_read)
    assert (filled.tools, filled.service) == (reported.tools, reported.service)
    assert (filled.output or 0) >= (reported.output or 0)
    assert (filled.output is None) == (reported.output is None and size is None)
    assert (source == "provider") == (complete and None not in (reported.input, reported.output))
    assert (source == "estimate") == (reported.input is None and reported.output is None)


@pytest.mark.parametrize(("complete", "source"), [(True, "provider"), (False, "partial")])
def test_without_estimates_the_usage_stays_as_it_is_reported(
    *, complete: bool, source: str
) -> None:
    report = Usage(output=3)
    filled = fill_usage(
        report, prompt_tokens=7, content_bytes=380, is_complete=complete, may_estimate=False
    )
    assert filled == (report, source)
