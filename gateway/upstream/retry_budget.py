"""The retries that a lab has: one for every few calls, so that retries do not worsen an outage.

The rule is that of Finagle's retry budget (finagle.github.io/blog/2016/02/08/retry-budgets),
without its floor by time. Each call earns a part of a retry, and a retry takes a whole one. So
there are never more requests than calls times (1 + RETRIES_PER_CALL), plus MAX_SAVED_RETRIES.
"""

RETRIES_PER_CALL = 0.15
"""The part of a retry that each call earns: one call in eight may fail, and all are retried."""
MAX_SAVED_RETRIES = 10.0
"""The number of retries that a lab can save up."""


class RetryBudget:
    """The retries of one lab."""

    __slots__ = ("balance", "call_count", "denied_count", "granted_count")

    def __init__(self) -> None:
        self.balance = MAX_SAVED_RETRIES
        self.call_count = self.granted_count = self.denied_count = 0

    def earn(self) -> None:
        """Add the part of a retry that a call earns."""
        self.call_count += 1
        balance = self.balance + RETRIES_PER_CALL
        self.balance = min(MAX_SAVED_RETRIES, balance)

    @property
    def has_retry(self) -> bool:
        """True if the lab has a retry left."""
        return self.balance >= 1.0

    def take_retry(self) -> bool:
        """Take one retry for a further request. Return False if none is left."""
        if not self.has_retry:
            self.denied_count += 1
            return False
        self.balance -= 1.0
        self.granted_count += 1
        return True
