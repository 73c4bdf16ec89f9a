"""Test the order of candidates: homes, draws, pins, members that are out or busy."""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from gateway.upstream.balance.balancer import BalancedCall, Balancer
from gateway.upstream.balance.member_sets import MemberSet
from gateway.upstream.retry import Candidate, PinnedAccount
from tests.upstream.balance.equals import list_places, make_group, make_sets, make_target

HASHED = make_sets(make_target("v/m", *"abcd", balance="hash", replicas=True))
DRAWN = make_sets(make_target("v/m", *"abcd", balance="p2c", replicas=True))
RANKED = ["v d", "v c", "v b", "v a"]
"""The order of `chat 53`."""


class BalancerFixture:
    """A balancer with a clock and random numbers of the test."""

    def __init__(self, *draws: float) -> None:
        self.now = 0.0
        self.draws: Iterator[float] = cycle(draws or (0.0,))
        self.balancer = Balancer(clock=lambda: self.now, random=lambda: next(self.draws))

    def order(self, sets: tuple[MemberSet, ...], conversation: str = "", **more: Any) -> list[str]:
        call = BalancedCall(conversation=conversation, **more)
        return list_places(self.balancer.order(sets, call))

    def begin(self, sets: tuple[MemberSet, ...], member: str, times: int) -> None:
        """Send calls to a member."""
        for member_set in sets:
            for item in member_set.members:
                for _ in range(times if item.name == member else 0):
                    self.balancer.loads.begin(item.candidates[0], stream=False)

    def measure(self, sets: tuple[MemberSet, ...], member: str, seconds: float) -> None:
        """Let a member answer once in so many seconds."""
        for item in sets[0].members:
            if item.name == member:
                load = self.balancer.loads.find(item.candidates[0])
                load.record_latency(seconds, self.now, stream=False)


def out(*names: str) -> Callable[[Candidate], bool]:
    """Return a test that some accounts or providers do not pass."""
    return lambda item: item.key[1] not in names and item.key[0] not in names


def session(account: str, provider: str = "v") -> PinnedAccount:
    return PinnedAccount(provider, account, "m", is_session=True)


def test_hash_asks_the_home_first_and_the_others_in_the_order_of_the_hash() -> None:
    fixture = BalancerFixture()
    assert fixture.order(HASHED, "chat 53") == RANKED
    assert fixture.order(HASHED, "chat 53", pinned_account=session("a")) == RANKED
    assert fixture.order(HASHED, "chat 53", is_fit=out("d")) == ["v c", "v d", "v b", "v a"]
    assert fixture.order(HASHED, "chat 53", is_fit=out(*"abcd")) == RANKED


def test_a_session_says_the_home_of_a_conversation_that_is_new_here() -> None:
    """It does not if the first in rank is out: then it only says who serves meanwhile."""
    fixture = BalancerFixture()
    pin = {"pinned_account": session("b")}
    assert fixture.order(HASHED, "chat 53", is_fit=out("d"), **pin)[0] == "v c"
    assert fixture.order(HASHED, "chat 53", **pin)[0] == "v d"
    assert BalancerFixture().order(HASHED, "chat 53", **pin) == ["v b", "v d", "v c", "v a"]


def test_an_account_that_alone_can_continue_a_call_comes_first_or_stands_alone() -> None:
    fixture = BalancerFixture()
    pin = PinnedAccount("v", "a")
    assert fixture.order(HASHED, "chat 53", pinned_account=pin)[0] == "v a"
    only = PinnedAccount("v", "a", is_only=True)
    assert fixture.order(HASHED, "chat 53", pinned_account=only) == ["v a"]
    elsewhere = PinnedAccount("w", "a")
    assert fixture.order(HASHED, "chat 2", pinned_account=elsewhere) == fixture.order(
        HASHED, "chat 2"
    )


def test_a_member_with_more_than_its_bound_in_flight_does_not_go_first() -> None:
    """Up to eight calls never count as many; from there on, twice the share does."""
    fixture = BalancerFixture()
    fixture.begin(HASHED, "d", 7)
    assert fixture.order(HASHED, "chat 53")[0] == "v d"
    fixture.begin(HASHED, "d", 1)
    assert fixture.order(HASHED, "chat 53") == ["v c", "v d", "v b", "v a"]
    for name in "abc":
        fixture.begin(HASHED, name, 8)
    assert fixture.order(HASHED, "chat 53")[0] == "v d"
    fixture.begin(HASHED, "d", 20)
    assert fixture.order(HASHED, "chat 53")[0] == "v c"
    assert fixture.order(HASHED, "chat 53", is_fit=out(*"abc"))[0] == "v d"


def test_p2c_takes_the_one_of_two_with_fewer_calls() -> None:
    fixture = BalancerFixture(0.0, 0.0)  # draws a, then b of the rest
    assert fixture.order(DRAWN) == ["v a", "v b", "v c", "v d"]
    fixture.begin(DRAWN, "a", 1)
    assert fixture.order(DRAWN) == ["v b", "v c", "v d", "v a"]
    assert BalancerFixture(1.0).order(DRAWN)[0] == "v d"
    assert fixture.order(DRAWN, is_fit=out("b"))[0] == "v c"
    assert fixture.order(DRAWN, is_fit=out(*"abc"))[0] == "v d"
    assert len(fixture.order(DRAWN, is_fit=out(*"abcd"))) == 4


def test_p2c_weighs_calls_by_latency_once_both_are_known() -> None:
    fixture = BalancerFixture(0.0, 0.0)
    fixture.begin(DRAWN, "b", 2)
    fixture.measure(DRAWN, "a", 1.0)
    assert fixture.order(DRAWN)[0] == "v a"
    fixture.measure(DRAWN, "b", 0.1)
    assert fixture.order(DRAWN)[0] == "v b"
    fixture.begin(DRAWN, "b", 8)
    assert fixture.order(DRAWN)[0] == "v a"


def test_p2c_draws_among_members_that_are_fit() -> None:
    fixture = BalancerFixture(0.0, 0.0)
    fixture.measure(DRAWN, "b", 1.0)
    fixture.measure(DRAWN, "c", 0.1)
    assert fixture.order(DRAWN, is_fit=out("a"))[0] == "v c"


def test_a_bound_on_calls_in_flight_follows_the_weights() -> None:
    group = make_group()
    sets = make_sets(make_target("x/m", group=group, weight=3), make_target("y/m", group=group))
    conversations = [f"chat {number}" for number in range(20)]
    fixture = BalancerFixture()
    homes = {name: fixture.order(sets, name)[0] for name in conversations}
    fixture.begin(sets, "x/m", 20)
    fixture.begin(sets, "y/m", 8)  # twice its share of 29 calls is 14.5; that of x is 43.5
    assert {name: fixture.order(sets, name)[0] for name in conversations} == homes
    fixture.begin(sets, "y/m", 17)
    assert {fixture.order(sets, name)[0] for name in conversations} == {"x main"}


def test_p2c_weighs_calls_by_weight() -> None:
    group = make_group(balance="p2c")
    sets = make_sets(make_target("x/m", group=group, weight=3), make_target("y/m", group=group))
    fixture = BalancerFixture(0.0)
    fixture.begin(sets, "x/m", 1)
    assert fixture.order(sets) == ["x main", "y main"]
    fixture.begin(sets, "x/m", 2)
    assert fixture.order(sets) == ["y main", "x main"]


def test_with_p2c_a_conversation_stays_with_its_session() -> None:
    fixture = BalancerFixture(0.0, 0.0)
    assert fixture.order(DRAWN, "chat 53", pinned_account=session("c"))[0] == "v c"
    assert fixture.order(DRAWN, "chat 53", pinned_account=session("c"), is_fit=out("c"))[0] == "v a"


def test_a_call_without_a_conversation_is_drawn() -> None:
    """Such as a call for vectors: it shares no prompt cache with another."""
    assert BalancerFixture(0.3, 0.0).order(HASHED)[0] == "v b"


def test_a_group_in_order_keeps_its_order_and_its_accounts_are_balanced() -> None:
    group = make_group(balance="order")
    sets = make_sets(
        make_target("x/m", "one", "two", group=group, balance="hash"),
        make_target("y/m", "one", "two", group=group),
        make_target("z/m", "one", "two"),
    )
    places = BalancerFixture().order(sets, "chat 2")
    assert [place.split()[0] for place in places] == ["x", "x", "y", "y", "z", "z"]
    assert places[2:] == ["y one", "y two", "z one", "z two"]
    pin = {"pinned_account": session("two", "y")}
    assert BalancerFixture().order(sets, "chat 2", **pin)[:2] == ["y two", "y one"]


def test_a_group_of_which_one_target_is_left_has_no_choice() -> None:
    sets = make_sets(make_target("x/m", group=make_group()), make_target("y/m", "one", "two"))
    assert BalancerFixture().order(sets, "chat 2") == ["x main", "y one", "y two"]


def test_a_hash_chooses_the_target_and_then_its_account() -> None:
    group = make_group()
    sets = make_sets(
        *(make_target(f"{name}/m", "one", "two", group=group, balance="hash") for name in "xyz")
    )
    fixture, firsts = BalancerFixture(), set()
    for number in range(60):
        places = fixture.order(sets, f"chat {number}")
        assert [place[0] for place in places[::2]] == [place[0] for place in places[1::2]]
        firsts.add(places[0])
    assert len(firsts) == 6
    counts = fixture.balancer.homes.count("mine/smart/g")
    assert sum(counts.values()) == 60
    # Of the accounts, only those of the first target have homes.
    assert sum(sum(fixture.balancer.homes.count(name).values()) for name in "xyz") == 60


@pytest.mark.parametrize("stream", [False, True])
def test_latency_is_compared_of_calls_of_one_kind(stream: bool) -> None:
    fixture = BalancerFixture(0.0, 0.0)
    fixture.measure(DRAWN, "a", 1.0)
    fixture.measure(DRAWN, "b", 0.1)
    assert fixture.order(DRAWN, stream=stream)[0] == ("v a" if stream else "v b")
