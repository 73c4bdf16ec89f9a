"""Protection against guessed keys: after too many wrong keys the client has to wait.

    a right key    is looked up first, and works however many wrong keys came before
    a wrong key    counts with keys that begin alike, and with all wrong keys

Client addresses do not matter: behind a proxy all clients have the same one, so one guesser would
lock out all others. Each worker counts for itself, in a table that never grows. The length of a
key protects it from a guess; this module makes guesses slow and visible.
"""

import time
from collections.abc import Callable

from gateway.core.errors import Problem, ProblemError

_PREFIX_LENGTH = 8
"""Characters at the start of a key by which the counter groups keys."""
_SLOT_COUNT = 1_024
"""Slots of the table; keys that begin differently may share one."""
_MAX_TRIES, _REFILL_SECONDS = 5, 5.0
"""Wrong keys that one slot allows at once; seconds until it allows one more."""
_MAX_TOTAL_TRIES, _TOTAL_REFILL_SECONDS = 50, 0.2
"""Both limits for all slots together."""


class WrongKeyCounter:
    """A counter of wrong keys. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots = [0.0] * _SLOT_COUNT
        """The time at which each slot has all of its tries back."""
        self._total_refilled_at = 0.0

    def count(self, secret: str) -> None:
        """Count a wrong key. Raises ProblemError (rate_limited) if too many came before it."""
        now = self._clock()
        slot = hash(secret[:_PREFIX_LENGTH]) % _SLOT_COUNT
        wait = max(
            self._slots[slot] - now - (_MAX_TRIES - 1) * _REFILL_SECONDS,
            self._total_refilled_at - now - (_MAX_TOTAL_TRIES - 1) * _TOTAL_REFILL_SECONDS,
        )
        if wait > 0:
            message = (
                "The gateway does not know this key, and has refused too many such keys. "
                "Check it, and wait before you try again."
            )
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        self._slots[slot] = max(self._slots[slot], now) + _REFILL_SECONDS
        self._total_refilled_at = max(self._total_refilled_at, now) + _TOTAL_REFILL_SECONDS
