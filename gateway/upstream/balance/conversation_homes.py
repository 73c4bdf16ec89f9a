"""The home of each conversation: the member of a set that has its prompt cache.

Homes come from a hash, within a bound on the load of each member. Source: "Consistent Hashing with
Bounded Loads" (Mirrokni, Thorup and Zadimoghaddam, 2016). A home stays while a conversation is in
use, also if its member is out: other members serve it meanwhile.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from gateway.upstream.balance.member_sets import BalancedMember

_BOUND_FACTOR = 1.25
"""The most conversations of a member, as a multiple of its share of all conversations."""
_IDLE_SECONDS = 3600.0
"""Seconds after its last call for which a conversation counts, as long as sessions last."""
_MAX_HOMES = 50_000
"""The number of conversations that one process counts: some 20 MB."""


class ConversationHomes:
    """The homes of recent conversations in all sets. `clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float], max_homes: int = _MAX_HOMES) -> None:
        self._clock = clock
        self._max_homes = max_homes
        self._homes: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        """The home and the time of the last call, by set and conversation; the oldest first."""
        self._counts: dict[str, Counter[str]] = {}
        """The conversations of each member, by set."""

    def settle(
        self,
        set_name: str,
        conversation: str,
        ranked: Sequence[BalancedMember],
        preferred: str | None,
    ) -> str:
        """Return the name of a conversation's home among members that are ranked for it.

        A conversation that is new here settles at `preferred`, if that is a member. Otherwise it
        settles at the first in rank that has room.
        """
        now = self._clock()
        self._forget_idle(now)
        key = set_name, conversation
        names = [member.name for member in ranked]
        known = self._homes.get(key)
        if known is not None and known[0] in names:
            self._homes[key] = known[0], now
            self._homes.move_to_end(key)
            return known[0]
        if known is not None:  # the configuration has lost its home
            self._forget(key)
        counts = self._counts.setdefault(set_name, Counter())
        home = preferred if preferred in names else _find_room(ranked, counts)
        counts[home] += 1
        self._homes[key] = home, now
        if len(self._homes) > self._max_homes:
            self._forget(next(iter(self._homes)))
        return home

    def count(self, set_name: str) -> dict[str, int]:
        """Return the number of conversations at home at each member of a set."""
        return dict(self._counts.get(set_name, {}))

    def _forget_idle(self, now: float) -> None:
        while self._homes:
            key, (_, used_at) = next(iter(self._homes.items()))
            if now - used_at <= _IDLE_SECONDS:
                return
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        home, _ = self._homes.pop(key)
        counts = self._counts[key[0]]
        counts[home] -= 1
        if not counts[home]:
            del counts[home]


def _find_room(ranked: Sequence[BalancedMember], counts: Counter[str]) -> str:
    """Return the first member in rank that may have one conversation more."""
    total_weight = sum(member.weight for member in ranked)
    bound_per_weight = _BOUND_FACTOR * (counts.total() + 1) / total_weight
    return next(
        member.name
        for member in ranked
        if counts[member.name] < math.ceil(bound_per_weight * member.weight)
    )
