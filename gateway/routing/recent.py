"""Turns that were counted of late, by cell of the axis of `share`.

Those of now are added to until there are enough; then they are those before, and those that were
before are let go. So what is told is of the last `TURNS` turns at least, and twice as many at most.
"""

from collections.abc import Sequence

from gateway.routing.tier_share import SIZE, WIDTH

TURNS = 2000
"""From which on thresholds are made of them."""


class RecentTurns:
    """The turns of one key, or of all keys of a tenant."""

    __slots__ = ("before", "now")

    def __init__(self, before: list[int] | None = None, now: list[int] | None = None) -> None:
        self.before = before or [0] * WIDTH
        self.now = now or [0] * WIDTH

    @property
    def counts(self) -> list[int]:
        """Turns by cell."""
        return [one + other for one, other in zip(self.before, self.now, strict=True)]

    def add(self, counts: Sequence[int]) -> None:
        """Count more turns."""
        self.now = [one + other for one, other in zip(self.now, counts, strict=True)]
        if sum(self.now[:SIZE]) >= TURNS:
            self.before, self.now = self.now, [0] * WIDTH

    @property
    def turns(self) -> int:
        """How many they are."""
        return sum(self.before[:SIZE]) + sum(self.now[:SIZE])
