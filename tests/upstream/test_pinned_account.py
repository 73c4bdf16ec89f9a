"""Test the order of accounts: the one that has the conversation's state comes first."""

import pytest

from gateway.core.decision import Plan
from gateway.upstream.retry import PinnedAccount, list_candidates, pin_candidates
from tests.upstream.test_retry import target


@pytest.mark.parametrize(
    ("seat", "order"),
    [
        (None, ["x/m a0", "x/m a1", "y/m a0", "x/n a0", "x/n a1"]),
        (PinnedAccount("x", "a1"), ["x/m a1", "x/n a1", "x/m a0", "y/m a0", "x/n a0"]),
        (PinnedAccount("x", "a0", "n"), ["x/n a0", "x/m a0", "x/m a1", "y/m a0", "x/n a1"]),
        (PinnedAccount("z", "a0"), ["x/m a0", "x/m a1", "y/m a0", "x/n a0", "x/n a1"]),
    ],
)
def test_the_pinned_account_comes_first_and_the_others_keep_their_order(
    seat: PinnedAccount | None, order: list[str]
) -> None:
    targets = (target("x/m", 2), target("y/m"), target("x/n", 2))
    plan = Plan(targets=targets, dialects=("openai-chat",) * 3)
    candidates = pin_candidates(list_candidates(plan), seat)
    assert [
        f"{candidate.target.name} {candidate.account.name}" for candidate in candidates
    ] == order
