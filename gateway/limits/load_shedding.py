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
from gateway.telemetry.log import Log, silent
from gateway.telemetry.process import MemoryReach

EVERY = 0.25
"""Seconds between samples."""
SHARES, REASONING, ALL = 1, 2, 3
"""Levels: who is refused from each on."""
_PARTS: dict[str, tuple[float, float, float]] = {
    "memory": (0.80, 0.85, 0.92),
    "files": (0.70, 0.80, 0.90),
    "lag": (0.25, 0.50, 1.00),
}
"""Of what there is, by what is measured: from where on each level holds."""
_FULL = _PARTS["memory"][-1]
_LAST = 1_000_000_000
"""Bytes of memory at its end that levels are parts of, where there is more."""
_BACK = 0.05
"""How far below that it must fall to hold no more: it does not come and go with each sample."""
_CALM = 4
"""Samples that a level holds at least; the lag counts where all of so many were late."""
SMALL = 65_536
"""Bytes of a body that nobody asks about: so many of them need little."""
_TIMES = 5
"""Bytes that a call may need at once for one of its body: read, parsed, written again."""
_QUOTE, _COMMA = 25, 40
"""Bytes beyond that for each of these in it, as Python has its values."""
_LEAN = 5.0
"""Seconds between attempts to give memory back."""


class LoadSample(NamedTuple):
    """What was measured; None is unknown."""

    memory: int | None = None
    """Bytes of this process."""
    group: MemoryReach | None = None
    """Bytes of all that has one limit with it."""
    files: int | None = None


class LoadShedder:
    """Measures. `memory` and `files` are the most that this process may have, `lag` is in seconds.

    `sample` looks at the machine, `lean` gives memory back that is not used, `chance` is random
    in [0, 1).
    """

    def __init__(
        self,
        sample: Callable[[], LoadSample],
        *,
        memory: int | None = None,
        files: int | None = None,
        lag: float = 0.0,
        log: Log = silent,
        lean: Callable[[], object] = int,
        chance: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._sample = sample
        self._memory = memory
        self._files = files
        self._lag = lag
        self._log = log
        self._lean = lean
        self._chance = chance
        self.level = 0
        """0 is none."""
        self.held = 0
        """Bytes that calls may need for their bodies."""
        self.shed = 0
        """Requests that were refused for it, or for want of room."""
        self.late = 0.0
        """Seconds that the event loop was late at the last sample."""
        self.seen = LoadSample()
        self._base: int | None = None
        self._lates: deque[float] = deque([0.0] * _CALM, _CALM)
        self._until = 0
        self._samples = 0
        self._leaned = -math.inf
        self.look(0.0, 0.0)

    def look(self, now: float, late: float) -> None:
        """Take a sample; `late` are the seconds by which it is."""
        self._samples += 1
        self.late = late
        self._lates.append(late)
        self.seen = seen = self._sample()
        if not self.held or self._base is None:
            self._base = seen.memory
        found = {what: self._part(what) for what in _PARTS}
        levels = {what: self._level(_PARTS[what], part) for what, part in found.items()}
        what = max(levels, key=lambda one: levels[one])
        self._set(levels[what], what, found[what])
        if levels["memory"] and now >= self._leaned + _LEAN:
            self._leaned = now
            self._lean()

    async def keep(
        self, sleep: Callable[[float], Awaitable[None]], clock: Callable[[], float]
    ) -> None:
        """Take samples for ever."""
        while True:
            due = clock() + EVERY
            await sleep(EVERY)
            now = clock()
            self.look(now, max(0.0, now - due))

    def _part(self, what: str) -> float:
        """How much is used of what there is."""
        seen = self.seen
        if what == "memory":
            parts = [0.0]
            if seen.memory is not None and self._memory:
                parts.append(_filled(MemoryReach(seen.memory, self._memory)))
            if seen.group is not None:
                parts.append(_filled(seen.group))
            return max(parts)
        if what == "files":
            return seen.files / self._files if seen.files is not None and self._files else 0.0
        return min(self._lates) / self._lag if self._lag else 0.0

    def _level(self, bounds: tuple[float, float, float], part: float) -> int:
        """The level of one measure, a little sticky."""
        return sum(
            part >= bound - (_BACK * bound if self.level >= level else 0.0)
            for level, bound in enumerate(bounds, 1)
        )

    def _set(self, level: int, what: str, part: float) -> None:
        if level >= self.level:
            self._until = self._samples + _CALM
        elif self._samples < self._until:
            return
        if level != self.level:
            self.level = level
            self._log("pressure", level=level, what=what if level else None, used=round(part, 3))

    def wait(self) -> float:
        """Seconds after which a client may come again: not all at once."""
        return 1.0 + int(5 * self._chance())

    def refuse(
        self, message: str, kind: Literal["overloaded", "rate_limited"] = "overloaded"
    ) -> ProblemError:
        """A refusal that a client may try again after a while."""
        self.shed += 1
        return ProblemError(Problem(kind=kind, message=message, retry_after=self.wait()))

    def check(self, level: int = ALL) -> None:
        """Refuse at this level and above. Raises ProblemError: overloaded."""
        if self.level >= level:
            raise self.refuse("The gateway is at its limits. Try again shortly.")

    def free(self) -> float:
        """Bytes of memory that nobody has or was promised, short of the highest level."""
        memory, group = self.seen.memory, self.seen.group
        left = math.inf
        if memory is not None and self._memory:
            left = _left(MemoryReach(memory, self._memory))
        if group is not None:
            left = min(left, _left(group))
        if memory is None or self._base is None:
            return left - self.held
        return left - max(0, self._base + self.held - memory)  # what is held may be in use by now

    def fits(self, size: int) -> bool:
        """Whether so many bytes would fit if nobody else had any."""
        if not self._memory or self._base is None:
            return True
        return size <= _left(MemoryReach(self._base, self._memory))


def _filled(reach: MemoryReach) -> float:
    """How much is used, of all or of the last gigabyte: what is left beyond that is enough."""
    return 1 - (reach.most - reach.used) / max(1, min(reach.most, _LAST))


def _left(reach: MemoryReach) -> float:
    """Bytes until nobody is let in."""
    return reach.most - reach.used - (1 - _FULL) * min(reach.most, _LAST)


class MemoryReservation:
    """Memory that one request may need, as far as its body has been announced or has come."""

    __slots__ = ("_bytes", "_pressure")

    def __init__(self, pressure: LoadShedder) -> None:
        self._pressure = pressure
        self._bytes = 0

    def ask(self, size: int) -> None:
        """Ask for what a body of this size needs, in all.

        Raises ProblemError: overloaded; request_too_large where it could never fit.
        """
        if size > SMALL:
            self._take(max(0, size * _TIMES - self._bytes))

    def weigh(self, piece: bytes) -> None:
        """Ask for what a piece of JSON needs beyond its size: many small values are large.

        Raises ProblemError as `ask`.
        """
        self._take(piece.count(b'"') * _QUOTE + piece.count(b",") * _COMMA)

    def _take(self, more: int) -> None:
        pressure = self._pressure
        if more > pressure.free():
            if not pressure.fits(self._bytes + more):
                message = (
                    "This request body needs more memory than the gateway has (server.max_memory)."
                )
                raise ProblemError(Problem(kind="request_too_large", message=message))
            raise pressure.refuse("The gateway has no memory for this body now. Try again shortly.")
        pressure.held += more
        self._bytes += more

    def end(self) -> None:
        """Give it back."""
        self._pressure.held -= self._bytes
        self._bytes = 0
