"""Load shedding: the gateway refuses calls before it runs out of memory, files or time.

    LoadShedder          samples the load, and makes one level of it that each request reads
    MemoryReservation    the memory that the body of one request may need

The shedder samples memory, open files and the lag of the event loop four times a second. A request
reads one number. As the load grows, the gateway first refuses keys that have more than their share.
Then it refuses new calls of the reasoning tier, which are the longest, and then all calls. The
health and metrics endpoints answer at every level.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from gateway.core.errors import Problem, ProblemError
from gateway.telemetry.log import Log, ignore_event
from gateway.telemetry.process import MemoryReach

SAMPLE_SECONDS = 0.25
"""Seconds between samples."""
SHED_SHARES, SHED_REASONING, SHED_ALL = 1, 2, 3
"""The levels, by the calls that the gateway refuses from each on."""
_LEVEL_BOUNDS: dict[str, tuple[float, float, float]] = {
    "memory": (0.80, 0.85, 0.92),
    "files": (0.70, 0.80, 0.90),
    "lag": (0.25, 0.50, 1.00),
}
"""The used part of each resource from which levels 1, 2 and 3 hold."""
_FULL_RATIO = _LEVEL_BOUNDS["memory"][-1]
_LAST_BYTES = 1_000_000_000
"""Bytes. With more memory than this, ratios count the last gigabyte alone."""
_HYSTERESIS = 0.05
"""The part of its bound by which a ratio must fall below it to end a level. So the level does not
change with each sample."""
_MIN_SAMPLES = 4
"""Samples that a level lasts at least. Lag counts only if as many samples in a row were late."""
SMALL_BODY_BYTES = 65_536
"""Bytes of a body whose size reserves no memory: many such bodies need little."""
_BODY_FACTOR = 5
"""Bytes that a call may need for each byte of its body: read, parsed, written again."""
_VALUE_BYTES = 400
"""Further bytes for each value and name: 380 were measured where small messages are translated."""
_WIDE_FACTOR = 20
"""Further bytes for each byte if a text has a character above U+FFFF, such as an emoji.

Python then takes 4 bytes for each character of the text, in each of its copies. A translation grew
by up to 25 times the size of such a text.
"""
_TRIM_SECONDS = 5.0
"""Seconds between attempts to return memory to the system."""


class LoadSample(NamedTuple):
    """One measurement of this process; None is unknown."""

    memory: int | None = None
    """Bytes of memory of this process."""
    group: MemoryReach | None = None
    """Bytes of all processes that share a memory limit with this one."""
    files: int | None = None


class LoadShedder:
    """Measures how loaded this process is, and refuses calls when it is overloaded.

    `max_memory` (bytes) and `max_files` bound this process; `max_lag` is in seconds.

    `sample` measures the machine, `trim_memory` returns unused memory to the system,
    `random_fraction` returns a random number in [0, 1).
    """

    def __init__(
        self,
        sample: Callable[[], LoadSample],
        *,
        max_memory: int | None = None,
        max_files: int | None = None,
        max_lag: float = 0.0,
        log: Log = ignore_event,
        trim_memory: Callable[[], object] = int,
        random_fraction: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._sample = sample
        self._max_memory = max_memory
        self._max_files = max_files
        self._max_lag = max_lag
        self._log = log
        self._trim_memory = trim_memory
        self._random_fraction = random_fraction
        self.level = 0
        """The current level, 0 to 3; 0 refuses nothing."""
        self.reserved_bytes = 0
        """Bytes of memory that running calls have reserved for their bodies."""
        self.shed_count = 0
        """Requests that the gateway refused because of load or for lack of memory."""
        self.lag: float
        """Seconds that the event loop was late at the last sample."""
        self.last_sample: LoadSample
        self._base_memory: int | None
        self._lags: deque[float] = deque(maxlen=_MIN_SAMPLES)
        self._level_until: int
        self._sample_count = 0
        self._trimmed_at = -math.inf
        self.take_sample(0.0, 0.0)

    def take_sample(self, now: float, lag: float) -> None:
        """Take a sample, and set the level; `lag` is the seconds by which the sample is late."""
        self._sample_count += 1
        self.lag = lag
        self._lags.append(lag)
        self.last_sample = sample = self._sample()
        if not self.reserved_bytes or self._base_memory is None:
            self._base_memory = sample.memory
        ratios = {resource: self._compute_ratio(resource) for resource in _LEVEL_BOUNDS}
        levels = {
            resource: self._compute_level(_LEVEL_BOUNDS[resource], ratio)
            for resource, ratio in ratios.items()
        }
        resource = max(levels, key=lambda name: levels[name])
        self._set_level(levels[resource], resource, ratios[resource])
        if levels["memory"] and now >= self._trimmed_at + _TRIM_SECONDS:
            self._trimmed_at = now
            self._trim_memory()

    async def sample_periodically(
        self, sleep: Callable[[float], Awaitable[None]], clock: Callable[[], float]
    ) -> None:
        """Take samples until cancelled."""
        while True:
            due = clock() + SAMPLE_SECONDS
            await sleep(SAMPLE_SECONDS)
            now = clock()
            self.take_sample(now, max(0.0, now - due))

    def _compute_ratio(self, resource: str) -> float:
        """Return the used part of a resource."""
        sample = self.last_sample
        if resource == "memory":
            ratios = [0.0]
            if sample.memory is not None and self._max_memory:
                ratios.append(_compute_used_ratio(MemoryReach(sample.memory, self._max_memory)))
            if sample.group is not None:
                ratios.append(_compute_used_ratio(sample.group))
            return max(ratios)
        if resource == "files":
            return (
                sample.files / self._max_files
                if sample.files is not None and self._max_files
                else 0.0
            )
        return min(self._lags) / self._max_lag if self._max_lag else 0.0

    def _compute_level(self, bounds: tuple[float, float, float], ratio: float) -> int:
        """Return the level of one resource; a level ends only well below its bound."""
        return sum(
            ratio >= bound - (_HYSTERESIS * bound if self.level >= level else 0.0)
            for level, bound in enumerate(bounds, 1)
        )

    def _set_level(self, level: int, resource: str, ratio: float) -> None:
        if level >= self.level:
            self._level_until = self._sample_count + _MIN_SAMPLES
        elif self._sample_count < self._level_until:
            return
        if level != self.level:
            self.level = level
            self._log(
                "pressure", level=level, what=resource if level else None, used=round(ratio, 3)
            )

    def choose_retry_after(self) -> float:
        """Return seconds until a client may retry.

        They are random, so that clients do not all return at the same time.
        """
        return 1.0 + int(5 * self._random_fraction())

    def make_refusal(
        self, message: str, kind: Literal["overloaded", "rate_limited"] = "overloaded"
    ) -> ProblemError:
        """Count a refusal, and make its error, which says when the client may retry."""
        self.shed_count += 1
        return ProblemError(
            Problem(kind=kind, message=message, retry_after=self.choose_retry_after())
        )

    def check(self, level: int = SHED_ALL) -> None:
        """Refuse a call at this level and above. Raises ProblemError: overloaded."""
        if self.level >= level:
            raise self.make_refusal("The gateway is overloaded. Try again shortly.")

    def count_free_bytes(self) -> float:
        """Return the bytes of memory, neither used nor reserved, below the highest level."""
        memory, group = self.last_sample.memory, self.last_sample.group
        free_bytes = math.inf
        if memory is not None and self._max_memory:
            free_bytes = _count_free_bytes(MemoryReach(memory, self._max_memory))
        if group is not None:
            free_bytes = min(free_bytes, _count_free_bytes(group))
        if memory is None or self._base_memory is None:
            return free_bytes - self.reserved_bytes
        # Calls may use a part of their reservations by now, and `memory` has that part already.
        return free_bytes - max(0, self._base_memory + self.reserved_bytes - memory)

    def fits(self, size: int) -> bool:
        """Return True if this many bytes would fit if no other call had reserved any."""
        if not self._max_memory or self._base_memory is None:
            return True
        return size <= _count_free_bytes(MemoryReach(self._base_memory, self._max_memory))


def _compute_used_ratio(reach: MemoryReach) -> float:
    """Return the used part of all memory, or of the last gigabyte if there is more.

    With a gigabyte left, more free memory makes no difference.
    """
    return 1 - (reach.limit_bytes - reach.used_bytes) / max(1, min(reach.limit_bytes, _LAST_BYTES))


def _count_free_bytes(reach: MemoryReach) -> float:
    """Return the bytes that are left until the gateway refuses all calls."""
    return (
        reach.limit_bytes
        - reach.used_bytes
        - (1 - _FULL_RATIO) * min(reach.limit_bytes, _LAST_BYTES)
    )


class MemoryReservation:
    """The memory that one request may need for the part of its body that it announced or sent."""

    __slots__ = ("_bytes_by_purpose", "_shedder")

    def __init__(self, shedder: LoadShedder) -> None:
        self._shedder = shedder
        self._bytes_by_purpose: dict[str, int] = {}
        """The bytes for its size, for its values and for wide texts."""

    @property
    def reserved_bytes(self) -> int:
        """The bytes that it has reserved for all purposes."""
        return sum(self._bytes_by_purpose.values())

    def reserve_body(self, size: int) -> None:
        """Reserve the memory that a body of this size needs in all.

        Raises ProblemError: overloaded; request_too_large if it could never fit.
        """
        if size > SMALL_BODY_BYTES:
            self._reserve("size", size * _BODY_FACTOR)

    def reserve_values(self, count: int) -> None:
        """Reserve what so many JSON values and names need beyond the size of their body.

        Raises ProblemError as `reserve_body` does.
        """
        self._reserve("values", count * _VALUE_BYTES)

    def reserve_wide_text(self, size: int) -> None:
        """Reserve what a body of this size needs beyond that for characters above U+FFFF.

        Raises ProblemError as `reserve_body` does.
        """
        self._reserve("wide text", size * _WIDE_FACTOR)

    def _reserve(self, purpose: str, needed_bytes: int) -> None:
        """Reserve what a purpose needs more than it has."""
        shedder = self._shedder
        extra_bytes = needed_bytes - self._bytes_by_purpose.get(purpose, 0)
        if extra_bytes <= 0:
            return
        if extra_bytes > shedder.count_free_bytes():
            if not shedder.fits(self.reserved_bytes + extra_bytes):
                message = (
                    "This request body needs more memory than the gateway has (server.max_memory)."
                )
                raise ProblemError(Problem(kind="request_too_large", message=message))
            raise shedder.make_refusal(
                "The gateway has no memory for this body now. Try again shortly."
            )
        shedder.reserved_bytes += extra_bytes
        self._bytes_by_purpose[purpose] = needed_bytes

    def release(self) -> None:
        """Release all that the request has reserved."""
        self._shedder.reserved_bytes -= self.reserved_bytes
        self._bytes_by_purpose.clear()
