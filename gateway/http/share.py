"""Who has how many of the calls that are served at a time, so that one key cannot have them all."""

from gateway.core.call import Key
from gateway.core.problem import Problem, ProblemError

_CROWDED = 0.75
"""Part of all places from which on each key has its fair share and no more."""


class Shares:
    """Places for `most` calls at a time; while most are taken, keys have them in equal shares."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: dict[tuple[str, str], int] = {}
        """Keys that have a call, with how many."""
        self.calls = 0
        """Calls that are being served."""

    def admit(self, key: Key) -> None:
        """Let a call in, or not. Raises ProblemError: overloaded, rate_limited."""
        if self.calls <= self._most * _CROWDED and self.calls < self._most:
            return
        if self.calls >= self._most:
            message = "The gateway is serving as many calls as it may. Try again shortly."
            raise ProblemError(Problem(kind="overloaded", message=message, retry_after=1.0))
        mine = self._by_key.get((key.tenant, key.name), 0)
        if mine >= self._most / len(self._by_key):
            message = (
                "The gateway is busy, and this key has its share of the calls at a time. "
                "Try again shortly, or send fewer at once."
            )
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=1.0))

    def enter(self, key: Key) -> None:
        """A call begins."""
        name = key.tenant, key.name
        self.calls += 1
        self._by_key[name] = self._by_key.get(name, 0) + 1

    def leave(self, key: Key) -> None:
        """It has ended."""
        name = key.tenant, key.name
        self.calls -= 1
        left = self._by_key[name] - 1
        if left:
            self._by_key[name] = left
        else:
            del self._by_key[name]
