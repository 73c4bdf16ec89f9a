"""Wrong keys: how many are answered before whoever sends them is asked to wait.

    a right key    is looked up first, and opens whatever others have sent
    a wrong one    counts with those that begin alike, and with all

Addresses are not looked at: behind a proxy everybody has the same, so that one guesser would lock
out all others. Each worker counts for itself, in a table that never grows. What keeps a key from
being guessed is its length; this makes guessing slow and visible.
"""

import time
from collections.abc import Callable

from gateway.core.errors import Problem, ProblemError

_PREFIX_LENGTH = 8
"""Characters of a key by which it is like others."""
_SLOT_COUNT = 1_024
"""Places of the table; keys that begin differently may share one."""
_MAX_TRIES, _REFILL_SECONDS = 5, 5.0
"""Wrong keys of one place at once; seconds until it has one more."""
_MAX_TOTAL_TRIES, _TOTAL_REFILL_SECONDS = 50, 0.2
"""The same for all places together."""


class WrongKeyCounter:
    """Counts wrong keys. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots = [0.0] * _SLOT_COUNT
        """When all tries of a place are back."""
        self._total_refilled_at = 0.0

    def count(self, secret: str) -> None:
        """Count a wrong key. Raises ProblemError (rate_limited) where too many came before it."""
        now = self._clock()
        slot = hash(secret[:_PREFIX_LENGTH]) % _SLOT_COUNT
        wait = max(
            self._slots[slot] - now - (_MAX_TRIES - 1) * _REFILL_SECONDS,
            self._total_refilled_at - now - (_MAX_TOTAL_TRIES - 1) * _TOTAL_REFILL_SECONDS,
        )
        if wait > 0:
            message = (
                "This key is not known here, and too many like it came. "
                "Check it, and wait before you try again."
            )
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        self._slots[slot] = max(self._slots[slot], now) + _REFILL_SECONDS
        self._total_refilled_at = max(self._total_refilled_at, now) + _TOTAL_REFILL_SECONDS
