"""Admission: let a call in while the gateway is running, has room, and the key has its fair share.

`FairConcurrency` counts the running calls of each key, so that one key cannot take all places.

`RefusalLog` counts requests that the gateway refuses before they are calls: they leave no row.
"""

import time
from collections import Counter
from collections.abc import Callable

from gateway.core.call import Key
from gateway.core.errors import DRAINING, ProblemError, ProblemKind
from gateway.limits.load_shedding import (
    SHED_SHARES,
    SMALL_BODY_BYTES,
    LoadShedder,
    MemoryReservation,
)
from gateway.runtime.composition import Gateway
from gateway.server.body import BodyReader
from gateway.server.request_headers import Receive
from gateway.server.shutdown import GracefulShutdown, InFlightRequest
from gateway.telemetry.log import Log

_FAIR_SHARE_FRACTION = 0.75
"""The part of all places that must be taken before each key is held to its fair share."""


class FairConcurrency:
    """`limit` places for concurrent calls; while most are taken, each key gets an equal share.

    Under pressure each key gets an equal share of the taken places. At the highest level the
    gateway refuses every call.
    """

    def __init__(self, limit: int, load_shedder: LoadShedder) -> None:
        self._limit = limit
        self._load_shedder = load_shedder
        self._unrestricted_calls = int(min(limit * _FAIR_SHARE_FRACTION, limit - 1))
        """The number of running calls up to which no call is refused."""
        self._calls_by_key: dict[tuple[str, str], int] = {}
        """The number of running calls by tenant and key."""
        self.call_count = 0
        """The number of running calls."""

    def check(self, key: Key) -> None:
        """Check that a call may enter. Raises ProblemError: overloaded, rate_limited."""
        load_shedder = self._load_shedder
        if load_shedder.level:
            load_shedder.check()
        elif self.call_count <= self._unrestricted_calls:
            return
        if self.call_count >= self._limit:
            raise load_shedder.make_refusal(
                "The gateway has reached its limit of concurrent calls. Try again shortly."
            )
        key_calls = self._calls_by_key.get((key.tenant, key.name), 0)
        if not key_calls:
            return
        if load_shedder.level >= SHED_SHARES:
            is_over_share = key_calls > self.call_count / len(self._calls_by_key)
        else:
            is_over_share = key_calls >= self._limit / len(self._calls_by_key)
        if is_over_share:
            message = (
                "The gateway is busy, and this key has used its share of concurrent calls. "
                "Try again shortly, or send fewer at once."
            )
            raise load_shedder.make_refusal(message, "rate_limited")

    def enter(self, key: Key) -> None:
        """Let a call begin. Raises ProblemError as `check`."""
        if self._load_shedder.level or self.call_count > self._unrestricted_calls:
            self.check(key)
        key_id = key.tenant, key.name
        self.call_count += 1
        self._calls_by_key[key_id] = self._calls_by_key.get(key_id, 0) + 1

    def leave(self, key: Key) -> None:
        """Release the place of a call that has ended."""
        key_id = key.tenant, key.name
        self.call_count -= 1
        remaining_calls = self._calls_by_key[key_id] - 1
        if remaining_calls:
            self._calls_by_key[key_id] = remaining_calls
        else:
            del self._calls_by_key[key_id]


class RefusalLog:
    """Counts refusals by kind and logs their sums: the first at once, later ones seldom.

    A flood of bad requests makes one line in `interval` seconds, not one for each request.
    """

    def __init__(
        self,
        log: Log,
        count: Callable[[ProblemKind], object] = str,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 10.0,
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._interval = interval
        self._next_log_at = clock()
        self._unlogged_counts: Counter[str] = Counter()

    def note(self, kind: ProblemKind) -> None:
        """Count one refusal."""
        self._unlogged_counts[kind] += 1
        self._count(kind)
        now = self._clock()
        if now >= self._next_log_at:
            self._next_log_at = now + self._interval
            self.flush()

    def flush(self) -> None:
        """Log the refusals since the last line."""
        if self._unlogged_counts:
            self._log("refused", **self._unlogged_counts)
            self._unlogged_counts.clear()


class Admission:
    """Admits calls at all endpoints of a process, at most `server.in_flight` at a time."""

    def __init__(self, gateway: Gateway) -> None:
        server = gateway.built_config.source.config.server
        self._load_shedder = gateway.load_shedder
        self._fair_concurrency = FairConcurrency(server.in_flight, gateway.load_shedder)
        self._body_reader = BodyReader(server)
        self.small_body_bytes = min(server.max_body, server.max_values, SMALL_BODY_BYTES)
        """The size in bytes up to which a body that has arrived whole needs no check."""
        self.shutdown = GracefulShutdown(gateway.waiting_calls.close)

    def count_calls(self) -> int:
        """Return the number of running calls."""
        return self._fair_concurrency.call_count

    def check(self) -> None:
        """Refuse a request of any kind while the gateway admits nobody.

        Raises ProblemError: draining, overloaded.
        """
        if self.shutdown.is_closed:
            raise ProblemError(DRAINING)
        self._load_shedder.check()

    def enter(self, key: Key) -> InFlightRequest:
        """Let a call in. Raises ProblemError: draining, overloaded, rate_limited."""
        shutdown = self.shutdown
        if shutdown.is_closed:
            raise ProblemError(DRAINING)
        self._fair_concurrency.enter(key)
        in_flight = InFlightRequest()
        shutdown.requests.add(in_flight)
        return in_flight

    def leave(self, key: Key, in_flight: InFlightRequest) -> None:
        """Release all that a call used: it has ended."""
        if in_flight.memory is not None:
            in_flight.memory.release()
        self.shutdown.requests.discard(in_flight)
        self._fair_concurrency.leave(key)

    def reserve_memory(self, in_flight: InFlightRequest) -> MemoryReservation:
        """Return a memory reservation for the body of a call; `leave` releases it."""
        in_flight.memory = memory = MemoryReservation(self._load_shedder)
        return memory

    def check_body(self, data: bytes, memory: MemoryReservation, *, allows_token_ids: bool) -> None:
        """Check a body that has arrived whole; see BodyReader."""
        self._body_reader.check(data, memory, allows_token_ids=allows_token_ids)

    async def read_body(
        self,
        receive: Receive,
        length: int | None,
        memory: MemoryReservation | None = None,
        *,
        allows_token_ids: bool = False,
    ) -> bytes:
        """Read the body of a request; see BodyReader. Without `memory` it reserves its own."""
        if memory is not None:
            return await self._body_reader.read(
                receive, length, memory, allows_token_ids=allows_token_ids
            )
        memory = MemoryReservation(self._load_shedder)
        try:
            return await self._body_reader.read(receive, length, memory)
        finally:
            memory.release()
