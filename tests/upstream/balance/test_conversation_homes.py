"""Test the homes of conversations: even within the bound, and kept while they are in use."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.balance.conversation_homes import ConversationHomes
from gateway.upstream.balance.member_sets import MemberSet, rank_members
from tests.upstream.balance.equals import make_group, make_sets, make_target


def members(*names: str, weights: tuple[float, ...] = ()) -> MemberSet:
    (member_set,) = make_sets(
        *(
            make_target(f"{name}/m", group=make_group(), weight=weight)
            for name, weight in zip(names, weights or (1.0,) * len(names), strict=True)
        )
    )
    return member_set


BOUND = 1.25
FOUR = members("a", "b", "c", "d")


class HomesFixture:
    """Homes on a clock of the test."""

    def __init__(self, max_homes: int = 50_000) -> None:
        self.now = 0.0
        self.homes = ConversationHomes(lambda: self.now, max_homes)

    def settle(
        self, conversation: str, member_set: MemberSet = FOUR, preferred: str | None = None
    ) -> str:
        ranked = rank_members(member_set, conversation)
        return self.homes.settle(member_set.name, conversation, ranked, preferred)

    @property
    def counts(self) -> dict[str, int]:
        return self.homes.count(FOUR.name)


@given(
    st.integers(1, 300),
    st.lists(st.floats(0.1, 10), min_size=2, max_size=6),
)
def test_no_member_gets_more_than_its_bound(count: int, weights: list[float]) -> None:
    """At each moment, with any weights. Rounding may lift a bound that is a whole number by one."""
    member_set = members(*(f"x{at}" for at in range(len(weights))), weights=tuple(weights))
    fixture = HomesFixture()
    for total in range(1, count + 1):
        fixture.settle(f"chat {total}", member_set)
        for member in member_set.members:
            share = member.weight / sum(weights) * total
            assert fixture.counts.get(member.name, 0) <= math.ceil(BOUND * share + 1e-9)


def test_a_conversation_keeps_its_home() -> None:
    fixture = HomesFixture()
    homes = {f"chat {number}": fixture.settle(f"chat {number}") for number in range(100)}
    for conversation, home in homes.items():
        assert fixture.settle(conversation, preferred="a/m") == home
    assert sum(fixture.counts.values()) == 100


def test_a_new_conversation_settles_where_its_session_is() -> None:
    """Another process may have placed it there, within its own bounds."""
    fixture = HomesFixture()
    assert {fixture.settle(f"chat {number}", preferred="c/m") for number in range(9)} == {"c/m"}
    assert fixture.settle("chat 1", preferred="a/m") == "c/m"
    assert fixture.settle("another", preferred="gone/m") != "gone/m"


def test_idle_conversations_count_no_more() -> None:
    fixture = HomesFixture()
    for number in range(8):
        fixture.settle(f"chat {number}", preferred="a/m")
    fixture.now = 3_000.0
    fixture.settle("chat 0")
    fixture.now = 3_700.0
    fixture.settle("new", preferred="b/m")
    assert fixture.counts == {"a/m": 1, "b/m": 1}


def test_the_number_of_conversations_is_bounded() -> None:
    fixture = HomesFixture(max_homes=10)
    for number in range(25):
        fixture.settle(f"chat {number}")
    assert sum(fixture.counts.values()) == 10
    assert len(fixture.homes._homes) == 10


def test_a_conversation_whose_home_is_no_member_any_more_settles_again() -> None:
    fixture = HomesFixture()
    for number in range(40):
        fixture.settle(f"chat {number}")
    before = fixture.counts
    rest = members("a", "b", "c")
    homes = [fixture.settle(f"chat {number}", rest) for number in range(40)]
    assert "d/m" not in fixture.counts
    assert sum(fixture.counts.values()) == 40
    assert all(fixture.counts[name] >= before[name] for name in ("a/m", "b/m", "c/m"))
    assert set(homes) == {"a/m", "b/m", "c/m"}


def test_nothing_is_counted_of_a_set_that_no_call_has_met() -> None:
    assert HomesFixture().homes.count("other") == {}


@pytest.mark.parametrize("count", [8, 40, 400])
def test_few_conversations_are_even_too(count: int) -> None:
    fixture = HomesFixture()
    for number in range(count):
        fixture.settle(f"chat {number}")
    assert max(fixture.counts.values()) <= math.ceil(BOUND * count / 4)
