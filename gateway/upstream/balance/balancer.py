"""Order the candidates of a call: the equal that the gateway asks first, and those behind it.

    order   as the configuration lists them
    hash    the home of the conversation first, then the others in the order of a hash
    p2c     the better of two that are drawn at random; a conversation with a session stays

With `hash` and `p2c` a member that is out, or has more calls in flight than its bound, does not go
first. The next one in order then serves the call. Nothing here is shared between processes: a hash
is the same everywhere, and the bounds count the calls of this process.
"""

import math
from collections.abc import Callable, Sequence

import msgspec

from gateway.upstream.balance.conversation_homes import ConversationHomes
from gateway.upstream.balance.member_load import MemberLoads
from gateway.upstream.balance.member_sets import BalancedMember, MemberSet, rank_members
from gateway.upstream.retry import Candidate, PinnedAccount, move_to_front, pin_candidates

_MAX_LOAD_FACTOR = 2.0
"""The most calls in flight of a member, as a multiple of its share of all.

Each call that moves loses its prompt cache, and calls in flight vary by chance. In a simulation of
100 to 800 conversations at four replicas, a factor of 1.25 kept 64 to 93% of the hits in prompt
caches; 2 with `_IGNORED_CALLS` kept 99.8% and more.
"""
_IGNORED_CALLS = 8
"""Calls in flight below which a member is never too busy: an engine batches that many easily."""


class BalancedCall(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a call by which it is balanced."""

    conversation: str = ""
    """A hash that all calls of the conversation share; empty if nothing identifies it."""
    stream: bool = False
    pinned_account: PinnedAccount | None = None
    """The account that has what the call continues."""
    is_fit: Callable[[Candidate], bool] | None = None
    """A function that returns True if a candidate may be asked in its turn; None: all may."""

    @property
    def hard_pin(self) -> PinnedAccount | None:
        """The pinned account, if others lack more than the prompt cache; None if not."""
        pinned_account = self.pinned_account
        return None if pinned_account is None or pinned_account.is_session else pinned_account

    def find_pinned_member(self, members: Sequence[BalancedMember]) -> BalancedMember | None:
        """Return the member that has the pinned account; None if none has."""
        pinned_account = self.pinned_account
        if pinned_account is None:
            return None
        for member in members:
            if any(map(pinned_account.matches, member.candidates)):
                return member
        return None

    def is_member_fit(self, member: BalancedMember) -> bool:
        """Return True if one of a member's candidates may be asked in its turn."""
        return self.is_fit is None or any(map(self.is_fit, member.candidates))


class Balancer:
    """Chooses among equals for all calls of this process.

    `clock` is in seconds and never goes back; `random` returns numbers from 0 to 1.
    """

    def __init__(self, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self.loads = MemberLoads(clock)
        self.homes = ConversationHomes(clock)
        self._random = random

    def order(self, member_sets: Sequence[MemberSet], call: BalancedCall) -> list[Candidate]:
        """Return all candidates of a plan in the order in which a call asks them."""
        candidates: list[Candidate] = []
        for index, member_set in enumerate(member_sets):
            candidates += self._order_set(member_set, call, is_preferred=index == 0)
        return pin_candidates(candidates, call.hard_pin)

    def _order_set(
        self, member_set: MemberSet, call: BalancedCall, *, is_preferred: bool
    ) -> list[Candidate]:
        """Return the candidates of a set in order; `is_preferred` if the call goes to it first."""
        members = list(member_set.members)
        if len(members) > 1:
            members = self._order_members(member_set, call, is_preferred=is_preferred)
        candidates: list[Candidate] = []
        for index, member in enumerate(members):
            if member.accounts is None:
                candidates += member.candidates
            else:
                is_first = is_preferred and index == 0
                candidates += self._order_set(member.accounts, call, is_preferred=is_first)
        return candidates

    def _order_members(
        self, member_set: MemberSet, call: BalancedCall, *, is_preferred: bool
    ) -> list[BalancedMember]:
        members = list(member_set.members)
        pinned_member = call.find_pinned_member(members)
        if member_set.balance == "order":
            return move_to_front(members, pinned_member)
        if member_set.balance == "hash" and call.conversation:
            members = rank_members(member_set, call.conversation)
            if is_preferred:
                # The session may know of a home that another process chose within its own bounds.
                # If the first in rank is out, the session only knows who serves meanwhile.
                knows_home = pinned_member is not None and call.is_member_fit(members[0])
                home = self.homes.settle(
                    member_set.name,
                    call.conversation,
                    members,
                    pinned_member.name if pinned_member is not None and knows_home else None,
                )
                members = move_to_front(
                    members, next(member for member in members if member.name == home)
                )
        else:
            members = move_to_front(self._order_by_load(members, call), pinned_member)
        return self._put_free_first(members, call)

    def _order_by_load(
        self, members: list[BalancedMember], call: BalancedCall
    ) -> list[BalancedMember]:
        """Return the better of two random members first, then the others by calls in flight.

        Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
        """
        fit_members = [member for member in members if call.is_member_fit(member)]
        fit_members = fit_members or list(members)
        first = fit_members.pop(self._draw(len(fit_members)))
        best = first
        if fit_members:
            best = self._choose_better(first, fit_members[self._draw(len(fit_members))], call)
        return move_to_front(sorted(members, key=self._compute_load), best)

    def _draw(self, count: int) -> int:
        return min(count - 1, int(self._random() * count))

    def _choose_better(
        self, first: BalancedMember, second: BalancedMember, call: BalancedCall
    ) -> BalancedMember:
        """Return the member with fewer calls in flight, weighed by latency if both are known."""
        first_cost, second_cost = self._compute_load(first), self._compute_load(second)
        latencies = self._get_latency(first, call), self._get_latency(second, call)
        if latencies[0] is not None and latencies[1] is not None:
            first_cost *= latencies[0]
            second_cost *= latencies[1]
        return first if first_cost <= second_cost else second

    def _compute_load(self, member: BalancedMember) -> float:
        """Return the calls in flight that a member would have with this one, by its weight."""
        return (self._count_in_flight(member) + 1) / member.weight

    def _count_in_flight(self, member: BalancedMember) -> int:
        return sum(self.loads.find(candidate).in_flight for candidate in member.candidates)

    def _get_latency(self, member: BalancedMember, call: BalancedCall) -> float | None:
        """Return the latency of a member's fastest account; None if none is known."""
        now = self.loads.clock()
        latencies = [
            self.loads.find(candidate).get_latency(now, stream=call.stream)
            for candidate in member.candidates
        ]
        return min([latency for latency in latencies if latency is not None], default=None)

    def _put_free_first(
        self, members: list[BalancedMember], call: BalancedCall
    ) -> list[BalancedMember]:
        """Return the members, the first one that is fit and within its bound in front."""
        fit_members = [member for member in members if call.is_member_fit(member)]
        share = 0.0
        for member in fit_members:
            in_flight = self._count_in_flight(member)
            if in_flight < _IGNORED_CALLS:
                return move_to_front(members, member)
            if not share:
                total = sum(map(self._count_in_flight, fit_members)) + 1
                share = _MAX_LOAD_FACTOR * total / sum(item.weight for item in fit_members)
            if in_flight < math.ceil(share * member.weight):
                return move_to_front(members, member)
        return members
