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

_BEGINNING = 8
"""Characters of a key by which it is like others."""
_PLACES = 1_024
"""Places of the table; keys that begin differently may share one."""
_TRIES, _BACK = 5, 5.0
"""Wrong keys of one place at once; seconds until it has one more."""
_ALL_TRIES, _ALL_BACK = 50, 0.2
"""The same for all places together."""


class WrongKeyCounter:
    """Counts wrong keys. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places = [0.0] * _PLACES
        """When all tries of a place are back."""
        self._all = 0.0

    def count(self, secret: str) -> None:
        """Count a wrong key. Raises ProblemError (rate_limited) where too many came before it."""
        now = self._clock()
        place = hash(secret[:_BEGINNING]) % _PLACES
        wait = max(
            self._places[place] - now - (_TRIES - 1) * _BACK,
            self._all - now - (_ALL_TRIES - 1) * _ALL_BACK,
        )
        if wait > 0:
            message = (
                "This key is not known here, and too many like it came. "
                "Check it, and wait before you try again."
            )
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        self._places[place] = max(self._places[place], now) + _BACK
        self._all = max(self._all, now) + _ALL_BACK
