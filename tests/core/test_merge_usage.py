"""Usage that a provider reports more than once counts once."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage, merge_usage

FULL = Usage(input=20, cache_read=80, output=5, reasoning=3)
CASES = [
    (None, Usage(input=1), Usage(input=1)),
    # Running totals: the last stands.
    (Usage(input=9, output=1), Usage(input=9, output=7), Usage(input=9, output=7)),
    # A total may shrink when an estimate is corrected.
    (Usage(input=9, output=7), Usage(input=9, output=5), Usage(input=9, output=5)),
    # The same report again.
    (FULL, FULL, FULL),
    # A later report of one side leaves the other.
    (FULL, Usage(output=9), Usage(input=20, cache_read=80, output=9)),
    (FULL, Usage(input=7), Usage(input=7, output=5, reasoning=3)),
    # The same total in one class: the finer report stays.
    (FULL, Usage(input=100, output=8), FULL),
    (FULL, Usage(input=100, output=9), Usage(input=20, cache_read=80, output=9)),
    (Usage(input=1, cache_write={"5m": 2}, output=1), Usage(input=3, output=1), Usage(input=1, cache_write={"5m": 2}, output=1)),
    (Usage(input=9, output=5, reasoning=3), Usage(input=9, output=8), Usage(input=9, output=5, reasoning=3)),
    (Usage(input=2, cache_read=8, output=5), Usage(input=10, output=6), Usage(input=2, cache_read=8, output=6)),
    # Another total: it stands as it is.
    (FULL, Usage(input=101, output=9), Usage(input=101, output=9)),
    # An empty cache is a report too.
    (FULL, Usage(input=100, cache_read=0, output=9), Usage(input=100, cache_read=0, output=9)),
    # A report of zeros takes nothing back.
    (FULL, Usage(input=0, output=0), FULL),
    (FULL, Usage(input=0, output=9), Usage(input=20, cache_read=80, output=9)),
    (Usage(tools={"web_search": 1}), Usage(input=0, output=0), Usage(input=0, output=0, tools={"web_search": 1})),
    # Values beside the tokens: each stays on its own.
    (Usage(input=1, output=2, service="flex"), Usage(input=1, output=3), Usage(input=1, output=3, service="flex")),
    (Usage(input=1, output=2, tools={"maps": 1}), Usage(input=1, output=3), Usage(input=1, output=3, tools={"maps": 1})),
    (Usage(input=1, output=2, billed=Decimal(1)), Usage(input=1, output=3), Usage(input=1, output=3, billed=Decimal(1))),
    (
        Usage(service="flex", tools={"web_search": 1}, billed=Decimal(1)),
        Usage(input=1, output=2),
        Usage(input=1, output=2, service="flex", tools={"web_search": 1}, billed=Decimal(1)),
    ),
    (
        Usage(input=1, output=2, service="flex", tools={"web_search": 1}, billed=Decimal(1)),
        Usage(service="priority", tools={"web_search": 2}, billed=Decimal(0)),
        Usage(input=1, output=2, service="priority", tools={"web_search": 2}, billed=Decimal(0)),
    ),
    (
        Usage(units={"second": Decimal(8)}),
        Usage(input=1, output=2),
        Usage(input=1, output=2, units={"second": Decimal(8)}),
    ),
    (
        Usage(input=1, output=2, units={"second": Decimal(8)}),
        Usage(input=1, output=2, units={"second": Decimal(9)}),
        Usage(input=1, output=2, units={"second": Decimal(9)}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "report", "after"), CASES)
def test_the_last_complete_usage_report_counts(
    before: Usage | None, report: Usage, after: Usage
) -> None:
    assert merge_usage(before, report) == after


COUNTS = st.none() | st.integers(0, 5)
USAGES = st.builds(
    Usage,
    input=COUNTS,
    cache_read=COUNTS,
    cache_write=st.dictionaries(st.sampled_from(["", "5m"]), st.integers(1, 5)),
    output=COUNTS,
    reasoning=COUNTS,
    tools=st.sampled_from([{}, {"web_search": 1}]),
    service=st.sampled_from([None, "flex"]),
    billed=st.sampled_from([None, Decimal(1)]),
)


@given(USAGES, USAGES)
def test_each_side_of_merged_usage_comes_from_one_report(before: Usage, report: Usage) -> None:
    after = merge_usage(before, report)
    assert after.prompt in (before.prompt, report.prompt)
    assert after.completion in (before.completion, report.completion)
    assert (after.prompt is None) == (before.prompt is None and report.prompt is None)
    assert (after.completion is None) == (before.completion is None and report.completion is None)
    assert merge_usage(after, report) == after
