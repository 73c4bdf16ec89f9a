"""Test the retry budget of a lab: never more than its share of calls plus its savings."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.retry_budget import MAX_SAVED_RETRIES, RETRIES_PER_CALL, RetryBudget


@given(st.lists(st.integers(min_value=0, max_value=3), max_size=400))
def test_retries_never_exceed_their_share_of_calls_plus_the_savings(
    extra_requests: list[int],
) -> None:
    """`wanted` is the number of extra requests for each call."""
    allowance = RetryBudget()
    for more in extra_requests:
        allowance.earn()
        for _ in range(more):
            allowance.take_retry()
    assert allowance.call_count == len(extra_requests)
    assert (
        allowance.granted_count
        <= MAX_SAVED_RETRIES + RETRIES_PER_CALL * allowance.call_count + 1e-6
    )
    assert allowance.granted_count + allowance.denied_count == sum(extra_requests)
    assert 0 <= allowance.balance <= MAX_SAVED_RETRIES


def test_the_budget_allows_a_retry_for_one_call_in_eight() -> None:
    """At that rate the budget denies nothing, for any length of time."""
    allowance = RetryBudget()
    for at in range(10_000):
        allowance.earn()
        if at % 8 == 0:
            assert allowance.take_retry()
