"""How many retries a lab has: one for each few calls, so that a bad minute is not made worse.

The rule of Finagle's retry budget (finagle.github.io/blog/2016/02/08/retry-budgets), without its
floor by time: each call brings a part of a retry, and a retry takes a whole one. So there are never
more requests than calls times 1 + SHARE, and MOST beyond that.
"""

RETRIES_PER_CALL = 0.15
"""Of a retry that each call brings: with it one call in eight may fail and all are made good."""
MAX_SAVED_RETRIES = 10.0
"""Retries that are saved up."""


class RetryBudget:
    """The retries of one lab."""

    __slots__ = ("balance", "call_count", "denied_count", "granted_count")

    def __init__(self) -> None:
        self.balance = MAX_SAVED_RETRIES
        self.call_count = self.granted_count = self.denied_count = 0

    def earn(self) -> None:
        """A call is made."""
        self.call_count += 1
        balance = self.balance + RETRIES_PER_CALL
        self.balance = min(MAX_SAVED_RETRIES, balance)

    @property
    def has_retry(self) -> bool:
        """True if the lab has a retry left."""
        return self.balance >= 1.0

    def take_retry(self) -> bool:
        """Whether one more request may be made."""
        if not self.has_retry:
            self.denied_count += 1
            return False
        self.balance -= 1.0
        self.granted_count += 1
        return True
