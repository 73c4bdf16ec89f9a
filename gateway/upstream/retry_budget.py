"""How many retries a lab has: one for each few calls, so that a bad minute is not made worse.

The rule of Finagle's retry budget (finagle.github.io/blog/2016/02/08/retry-budgets), without its
floor by time: each call brings a part of a retry, and a retry takes a whole one. So there are never
more requests than calls times 1 + SHARE, and MOST beyond that.
"""

SHARE = 0.15
"""Of a retry that each call brings: with it one call in eight may fail and all are made good."""
MOST = 10.0
"""Retries that are saved up."""


class RetryBudget:
    """The retries of one lab."""

    __slots__ = ("calls", "denied", "left", "taken")

    def __init__(self) -> None:
        self.left = MOST
        self.calls = self.taken = self.denied = 0

    def earn(self) -> None:
        """A call is made."""
        self.calls += 1
        left = self.left + SHARE
        self.left = min(MOST, left)

    @property
    def some(self) -> bool:
        """True if the lab has a retry left."""
        return self.left >= 1.0

    def take(self) -> bool:
        """Whether one more request may be made."""
        if not self.some:
            self.denied += 1
            return False
        self.left -= 1.0
        self.taken += 1
        return True
