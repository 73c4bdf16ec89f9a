"""Test the sets of equals in a plan, and the order in which a conversation prefers them."""

from collections import Counter

import pytest

from gateway.upstream.balance.member_sets import MemberSet, rank_members
from tests.upstream.balance.equals import make_group, make_sets, make_target

GROUP = make_group()


def test_a_plan_without_equals_has_no_sets() -> None:
    """Several accounts that are tried in order are no equals."""
    assert make_sets(make_target("x/m"), make_target("y/m", "one", "two")) == ()
    assert make_sets(make_target("x/m", balance="hash")) == ()


def test_targets_of_a_group_are_a_set_and_all_others_stand_alone() -> None:
    sets = make_sets(
        make_target("x/m", group=GROUP, weight=2),
        make_target("y/m", "one", "two", group=GROUP, balance="p2c"),
        make_target("z/m", "one", "two"),
        make_target("w/m", group=make_group("h", "p2c")),
    )
    names = [(item.name, item.balance, [member.name for member in item.members]) for item in sets]
    assert names == [
        ("mine/smart/g", "hash", ["x/m", "y/m"]),
        ("z", "order", ["one", "two"]),
        ("mine/smart/h", "p2c", ["w/m"]),
    ]
    first, second = sets[0].members
    assert (first.weight, first.accounts, len(first.candidates)) == (2.0, None, 1)
    assert second.accounts is not None
    assert (second.accounts.name, second.accounts.balance) == ("y", "p2c")
    assert len(second.candidates) == 2


def replicas(*names: str) -> MemberSet:
    (member_set,) = make_sets(make_target("vllm/m", *names, balance="hash", replicas=True))
    return member_set


def rank(member_set: MemberSet, conversation: str) -> list[str]:
    return [member.name for member in rank_members(member_set, conversation)]


def test_an_order_depends_on_names_alone() -> None:
    """Whatever the order of the configuration, it is the same in each process and version."""
    assert rank(replicas("a", "b", "c", "d"), "chat 53") == ["d", "c", "b", "a"]
    assert rank(replicas("d", "b", "a", "c"), "chat 53") == ["d", "c", "b", "a"]


@pytest.mark.parametrize("left_out", ["a", "b", "c", "d"])
def test_without_one_member_the_others_keep_their_order(left_out: str) -> None:
    names = [name for name in "abcd" if name != left_out]
    for number in range(50):
        whole_order = rank(replicas("a", "b", "c", "d"), f"chat {number}")
        assert rank(replicas(*names), f"chat {number}") == [
            name for name in whole_order if name != left_out
        ]


def test_first_places_follow_the_weights() -> None:
    (member_set,) = make_sets(
        *(make_target(f"{name}/m", group=GROUP, weight=at) for at, name in enumerate("wxyz", 1))
    )
    counts = Counter(rank(member_set, f"chat {number}")[0] for number in range(5_000))
    for weight, name in enumerate("wxyz", 1):
        assert abs(counts[f"{name}/m"] - 500 * weight) < 100
