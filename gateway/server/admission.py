"""Who gets in: while the gateway is not stopping, has room, and the key its share of it.

Who has how many of the calls that are served at a time, so that one key cannot have them all.

Requests that were refused before they were calls: as they leave no row, they are counted.
"""

import time
from collections import Counter
from collections.abc import Callable

from gateway.core.call import Key
from gateway.core.errors import DRAINING, Kind, ProblemError
from gateway.limits.load_shedding import SHARES, SMALL, LoadShedder, MemoryReservation
from gateway.runtime.composition import Gateway
from gateway.server.body import BodyReader
from gateway.server.request_headers import Receive
from gateway.server.shutdown import GracefulShutdown, InFlightRequest
from gateway.telemetry.log import Log

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


class RefusalLog:
    """Counts by kind, and logs what came since the last line: the first at once, then seldom.

    A flood of bad requests makes one line in `every` seconds, not one each.
    """

    def __init__(
        self,
        log: Log,
        count: Callable[[Kind], object] = str,
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = 10.0,
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._every = every
        self._next = clock()
        self._new: Counter[str] = Counter()

    def note(self, kind: Kind) -> None:
        """Count one."""
        self._new[kind] += 1
        self._count(kind)
        now = self._clock()
        if now >= self._next:
            self._next = now + self._every
            self.tell()

    def tell(self) -> None:
        """Log what has not been told."""
        if self._new:
            self._log("refused", **self._new)
            self._new.clear()


class Admission:
    """One for all doors of a process: `server.in_flight` calls are let in at a time."""

    def __init__(self, gateway: Gateway) -> None:
        server = gateway.site.source.config.server
        self._pressure = gateway.pressure
        self._shares = FairConcurrency(server.in_flight, gateway.pressure)
        self._intake = BodyReader(server)
        self.small = min(server.max_body, server.max_values, SMALL)
        """Bytes of a body that has come whole for which nothing need be asked."""
        self.drain = GracefulShutdown(gateway.waiting.close)

    @property
    def calls(self) -> int:
        """Calls that are being served."""
        return self._shares.calls

    def check(self) -> None:
        """Refuse whoever asks for anything, where nobody gets in.

        Raises ProblemError: draining, overloaded.
        """
        if self.drain.closed:
            raise ProblemError(DRAINING)
        self._pressure.check()

    def enter(self, key: Key) -> InFlightRequest:
        """Let a call in, or not. Raises ProblemError: draining, overloaded, rate_limited."""
        drain = self.drain
        if drain.closed:
            raise ProblemError(DRAINING)
        self._shares.enter(key)
        visit = InFlightRequest()
        drain.visits.add(visit)
        return visit

    def leave(self, key: Key, visit: InFlightRequest) -> None:
        """It has ended."""
        if visit.hold is not None:
            visit.hold.end()
        self.drain.visits.discard(visit)
        self._shares.leave(key)

    def hold(self, visit: InFlightRequest) -> MemoryReservation:
        """Memory for the body of a call, until it leaves."""
        visit.hold = hold = MemoryReservation(self._pressure)
        return hold

    def take(self, data: bytes, hold: MemoryReservation, *, ids: bool) -> None:
        """Take a body that has come whole; see BodyReader."""
        self._intake.take(data, hold, ids=ids)

    async def body(
        self,
        receive: Receive,
        length: int | None,
        hold: MemoryReservation | None = None,
        *,
        ids: bool = False,
    ) -> bytes:
        """Read the body of a request; see BodyReader. Without a `hold` it asks for memory."""
        if hold is not None:
            return await self._intake.read(receive, length, hold, ids=ids)
        hold = MemoryReservation(self._pressure)
        try:
            return await self._intake.read(receive, length, hold)
        finally:
            hold.end()
