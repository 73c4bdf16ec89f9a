"""Pressure: how much the process can still take, so that it refuses before it breaks.

    Pressure     what is measured now and then, as one level that each request reads
    Hold         memory that the body of one request may need

Memory, open files and the lag of the event loop are sampled four times a second; a request looks
at one number. As pressure grows, first keys that have more than their share are refused, then new
calls of the reasoning tier, which are the longest, then all. Signs of life never are.
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
"""Levels: who is refused from each on."""
_LEVEL_BOUNDS: dict[str, tuple[float, float, float]] = {
    "memory": (0.80, 0.85, 0.92),
    "files": (0.70, 0.80, 0.90),
    "lag": (0.25, 0.50, 1.00),
}
"""Of what there is, by what is measured: from where on each level holds."""
_FULL_RATIO = _LEVEL_BOUNDS["memory"][-1]
_LAST_BYTES = 1_000_000_000
"""Bytes of memory at its end that levels are parts of, where there is more."""
_HYSTERESIS = 0.05
"""How far below that it must fall to hold no more: it does not come and go with each sample."""
_MIN_SAMPLES = 4
"""Samples that a level holds at least; the lag counts where all of so many were late."""
SMALL_BODY_BYTES = 65_536
"""Bytes of a body that nobody asks about: so many of them need little."""
_BODY_FACTOR = 5
"""Bytes that a call may need at once for one of its body: read, parsed, written again."""
_QUOTE_BYTES, _COMMA_BYTES = 25, 40
"""Bytes beyond that for each of these in it, as Python has its values."""
_TRIM_SECONDS = 5.0
"""Seconds between attempts to give memory back."""


class LoadSample(NamedTuple):
    """What was measured; None is unknown."""

    memory: int | None = None
    """Bytes of this process."""
    group: MemoryReach | None = None
    """Bytes of all that has one limit with it."""
    files: int | None = None


class LoadShedder:
    """Measures how loaded this process is, and refuses calls by it.

    `max_memory` (bytes) and `max_files` bound this process; `max_lag` is in seconds.

    `sample` looks at the machine, `trim_memory` gives memory back that is not used,
    `random_fraction` is random in [0, 1).
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
        """0 is none."""
        self.reserved_bytes = 0
        """Bytes that calls may need for their bodies."""
        self.shed_count = 0
        """Requests that were refused for it, or for want of room."""
        self.lag = 0.0
        """Seconds that the event loop was late at the last sample."""
        self.last_sample = LoadSample()
        self._base_memory: int | None = None
        self._lags: deque[float] = deque([0.0] * _MIN_SAMPLES, _MIN_SAMPLES)
        self._level_until = 0
        self._sample_count = 0
        self._trimmed_at = -math.inf
        self.take_sample(0.0, 0.0)

    def take_sample(self, now: float, lag: float) -> None:
        """Take a sample; `lag` are the seconds by which it is."""
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
        """Take samples for ever."""
        while True:
            due = clock() + SAMPLE_SECONDS
            await sleep(SAMPLE_SECONDS)
            now = clock()
            self.take_sample(now, max(0.0, now - due))

    def _compute_ratio(self, resource: str) -> float:
        """How much is used of what there is."""
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
        """The level of one measure, a little sticky."""
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
        """Seconds after which a client may come again: not all at once."""
        return 1.0 + int(5 * self._random_fraction())

    def make_refusal(
        self, message: str, kind: Literal["overloaded", "rate_limited"] = "overloaded"
    ) -> ProblemError:
        """A refusal that a client may try again after a while."""
        self.shed_count += 1
        return ProblemError(
            Problem(kind=kind, message=message, retry_after=self.choose_retry_after())
        )

    def check(self, level: int = SHED_ALL) -> None:
        """Refuse at this level and above. Raises ProblemError: overloaded."""
        if self.level >= level:
            raise self.make_refusal("The gateway is at its limits. Try again shortly.")

    def count_free_bytes(self) -> float:
        """Bytes of memory that nobody has or was promised, short of the highest level."""
        memory, group = self.last_sample.memory, self.last_sample.group
        free_bytes = math.inf
        if memory is not None and self._max_memory:
            free_bytes = _count_free_bytes(MemoryReach(memory, self._max_memory))
        if group is not None:
            free_bytes = min(free_bytes, _count_free_bytes(group))
        if memory is None or self._base_memory is None:
            return free_bytes - self.reserved_bytes
        return free_bytes - max(
            0, self._base_memory + self.reserved_bytes - memory
        )  # what is held may be in use by now

    def fits(self, size: int) -> bool:
        """Whether so many bytes would fit if nobody else had any."""
        if not self._max_memory or self._base_memory is None:
            return True
        return size <= _count_free_bytes(MemoryReach(self._base_memory, self._max_memory))


def _compute_used_ratio(reach: MemoryReach) -> float:
    """How much is used, of all or of the last gigabyte: what is left beyond that is enough."""
    return 1 - (reach.limit_bytes - reach.used_bytes) / max(1, min(reach.limit_bytes, _LAST_BYTES))


def _count_free_bytes(reach: MemoryReach) -> float:
    """Bytes until nobody is let in."""
    return (
        reach.limit_bytes
        - reach.used_bytes
        - (1 - _FULL_RATIO) * min(reach.limit_bytes, _LAST_BYTES)
    )


class MemoryReservation:
    """Memory that one request may need, as far as its body has been announced or has come."""

    __slots__ = ("_bytes", "_shedder")

    def __init__(self, shedder: LoadShedder) -> None:
        self._shedder = shedder
        self._bytes = 0

    def reserve_body(self, size: int) -> None:
        """Ask for what a body of this size needs, in all.

        Raises ProblemError: overloaded; request_too_large where it could never fit.
        """
        if size > SMALL_BODY_BYTES:
            self._reserve(max(0, size * _BODY_FACTOR - self._bytes))

    def reserve_json(self, chunk: bytes) -> None:
        """Ask for what a piece of JSON needs beyond its size: many small values are large.

        Raises ProblemError as `reserve_body`.
        """
        self._reserve(chunk.count(b'"') * _QUOTE_BYTES + chunk.count(b",") * _COMMA_BYTES)

    def _reserve(self, extra_bytes: int) -> None:
        shedder = self._shedder
        if extra_bytes > shedder.count_free_bytes():
            if not shedder.fits(self._bytes + extra_bytes):
                message = (
                    "This request body needs more memory than the gateway has (server.max_memory)."
                )
                raise ProblemError(Problem(kind="request_too_large", message=message))
            raise shedder.make_refusal(
                "The gateway has no memory for this body now. Try again shortly."
            )
        shedder.reserved_bytes += extra_bytes
        self._bytes += extra_bytes

    def release(self) -> None:
        """Give it back."""
        self._shedder.reserved_bytes -= self._bytes
        self._bytes = 0
