"""Who has how many of the calls that are served at a time, so that one key cannot have them all."""

from gateway.core.call import Key
from gateway.limits.load_shedding import SHARES, LoadShedder

_CROWDED = 0.75
"""Part of all places from which on each key has its fair share and no more."""


class FairConcurrency:
    """Places for `most` calls at a time; while most are taken, keys have them in equal shares.

    Under pressure they have equal shares of what is taken, and then nobody gets in.
    """

    def __init__(self, most: int, pressure: LoadShedder) -> None:
        self._most = most
        self._pressure = pressure
        self._calm = int(min(most * _CROWDED, most - 1))
        """Calls up to which nobody is refused."""
        self._by_key: dict[tuple[str, str], int] = {}
        """Keys that have a call, with how many."""
        self.calls = 0
        """Calls that are being served."""

    def admit(self, key: Key) -> None:
        """Whether a call gets in. Raises ProblemError: overloaded, rate_limited."""
        pressure = self._pressure
        if pressure.level:
            pressure.check()
        elif self.calls <= self._calm:
            return
        if self.calls >= self._most:
            raise pressure.refuse(
                "The gateway is serving as many calls as it may. Try again shortly."
            )
        mine = self._by_key.get((key.tenant, key.name), 0)
        if not mine:
            return
        if pressure.level >= SHARES:
            greedy = mine > self.calls / len(self._by_key)
        else:
            greedy = mine >= self._most / len(self._by_key)
        if greedy:
            message = (
                "The gateway is busy, and this key has its share of the calls at a time. "
                "Try again shortly, or send fewer at once."
            )
            raise pressure.refuse(message, "rate_limited")

    def enter(self, key: Key) -> None:
        """A call begins, or not. Raises ProblemError as `admit`."""
        if self._pressure.level or self.calls > self._calm:
            self.admit(key)
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
