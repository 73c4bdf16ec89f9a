"""A candidate configuration decides beside the one in force, after the answer and without acting.

Nobody waits for it: a call is put aside when its row has been written, and decided again between
others, for a twentieth of the time at most. Where there is no room it is left out, and counted.
"""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import Target
from gateway.evaluation.shadow_stats import Seen, Shadowed, costs, refused, side
from gateway.ledger.reprice import counted
from gateway.limits.load_shedding import LoadShedder
from gateway.routing.decision_record import DecisionRecorder
from gateway.runtime.build import BuiltConfig
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.file_snapshot import FileSnapshot
from gateway.telemetry import process
from gateway.telemetry.log import Log, where

type Read = Callable[[Path, FileSnapshot], BuiltConfig]
"""Reads, checks and builds a candidate. Raises ConfigError."""

_EVERY = 1.0
"""Seconds between looks at the candidate's files."""
_MOST = 256
"""Calls that wait to be decided again."""
_LARGE = 50_000
"""Characters of a prompt from which on a thread searches it."""
_REST = 19.0
"""Of the time that deciding took, how often it rests after it."""
_KINDS = 20
"""Kinds of failures that are counted apart."""


class Shadow:
    """One in each process; without a candidate it does nothing."""

    def __init__(
        self,
        read: Read,
        log: Log,
        *,
        pressure: LoadShedder | None = None,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._log = log
        self._pressure = pressure
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._own: BuiltConfig | None = None
        self._file: Path | None = None
        self._share = 1.0
        self._site: BuiltConfig | None = None
        """The candidate; None while there is none that may be used."""
        self._reads: FileSnapshot | None = None
        """What it was read from; None where it is to be read."""
        self._seen: tuple[object, ...] | None = None
        self._mistakes: tuple[Mistake, ...] = ()
        self._waiting: deque[tuple[FinalRow, DecisionRecorder]] = deque()
        self._some = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        """What is counted begins anew: one of the two is another."""
        self._counts = Shadowed()
        self.since = self._wall()
        self.skipped = 0
        """Calls that there was no room for."""
        self.failures: dict[str, int] = {}
        """Calls at which the candidate failed, by the kind of error and its place."""
        self.took = 0.0
        """Seconds of deciding."""
        self._waiting.clear()

    @property
    def on(self) -> bool:
        """Whether there is to be a candidate."""
        return self._file is not None

    def adopt(self, site: BuiltConfig) -> None:
        """Another configuration is in force, and says which candidate is held against it."""
        name = site.source.config.routing.shadow
        file = site.source.file.parent / name if name else None
        if file != self._file or file is None:
            self._site, self._reads, self._mistakes = None, None, ()
        self._file, self._own = file, site
        self._share = site.source.config.routing.shadow_share
        self._begin()

    def note(self, own: BuiltConfig, entry: FinalRow, case: object) -> None:
        """A call is over that went by `own`. Costs nothing but where it is to be decided again."""
        if self._site is None or own is not self._own:
            return
        if not isinstance(case, DecisionRecorder) or case.operation != "generate":
            return
        if self._share < 1 and zlib.crc32(entry.id.encode()) >= self._share * 2**32:
            return
        pressed = self._pressure is not None and self._pressure.level
        if pressed or len(self._waiting) >= _MOST:
            self.skipped += 1
            return
        self._waiting.append((entry, case))
        self._some.set()

    async def work(self) -> None:
        """Decide what waits, between other calls, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            await self.settle()

    async def settle(self) -> None:
        """Decide all that waits, with a rest after each."""
        while self._waiting:
            entry, case = self._waiting.popleft()
            began = self._clock()
            if case.size > _LARGE:
                await asyncio.to_thread(self.decide, entry, case)
            else:
                self.decide(entry, case)
            took = self._clock() - began
            self.took += took
            await self._sleep(took * _REST)

    def decide(self, entry: FinalRow, case: DecisionRecorder) -> None:
        """Decide a call as the candidate would, and count it. Raises nothing."""
        site, own, counts = self._site, self._own, self._counts
        if site is None or own is None:
            return
        try:
            seen = _seen(entry, case, own, site)
        except Exception as error:  # noqa: BLE001 - a candidate disturbs nobody
            kind = where(error)
            kind = kind if kind in self.failures or len(self.failures) < _KINDS else "(others)"
            self.failures[kind] = self.failures.get(kind, 0) + 1
            return
        counts.add(seen)

    async def watch(self) -> None:
        """Read the candidate, and again when its files change, until cancelled."""
        while True:
            await self.look()
            await self._sleep(_EVERY)

    async def look(self) -> None:
        """Read it where it is to be read; what is being written is waited for."""
        if self._file is None:
            return
        if self._reads is not None:
            now = await asyncio.to_thread(self._reads.now)
            if now == self._reads.then():
                self._seen = None
                return
            if now != self._seen:
                self._seen = now
                return
        await self.read()

    async def read(self) -> None:
        """Read the candidate now. One with a mistake is told of, and not used."""
        file = self._file
        if file is None:
            return
        reads, site, mistakes = FileSnapshot(), None, tuple[Mistake, ...]()
        try:
            site = await asyncio.to_thread(self._quietly, file, reads)
        except ConfigError as error:
            mistakes = tuple(error.mistakes)
        except Exception as error:  # noqa: BLE001 - a candidate disturbs nobody
            mistakes = (Mistake(message=f"cannot be read: {where(error)}."),)
        if file != self._file:
            return  # another is asked for meanwhile
        self._reads, self._seen = reads, None
        self._site, self._mistakes = site, mistakes
        self._begin()
        for one in mistakes[:_KINDS]:
            text = f"{one.path}: {one.message}" if one.path else one.message
            self._log("shadow", file=one.file or str(file), line=one.line, error=text)
        if site is not None:
            version = site.built.catalogue.version
            self._log("shadow", version=version, text="decides beside what is in force")

    def _quietly(self, file: Path, reads: FileSnapshot) -> BuiltConfig:
        with process.quietly():
            return self._read(file, reads)

    def state(self) -> dict[str, Json]:
        """The report, as plain values; null where there is no candidate."""
        site, own = self._site, self._own
        file = self._file
        return {
            "file": None if file is None else str(file),
            "version": None if own is None else own.built.catalogue.version,
            "candidate": None if site is None else site.built.catalogue.version,
            "mistakes": [str(one) for one in self._mistakes],
            "since": round(self.since, 3),
            "share": self._share,
            "waiting": len(self._waiting),
            "skipped": self.skipped,
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures),
            "seconds": round(self.took, 6),
            **self._counts.view(),
        }


def _seen(entry: FinalRow, case: DecisionRecorder, own: BuiltConfig, site: BuiltConfig) -> Seen:
    first: Target | None = None
    if case.decided is None:
        mine = refused(entry.problem or "")
    else:
        decision, plan = case.decided
        mine, first = side(decision, plan), plan.targets[0]
    second: Target | None = None
    try:
        decision, plan = case.again(site.router, bounded=_bounded(own, site))
    except ProblemError as error:
        other = refused(error.problem.kind)
    else:
        other, second = side(decision, plan), plan.targets[0]
    usage = None if entry.cache == "hit" else counted(entry)
    return Seen(
        id=entry.id,
        at=entry.at,
        key=entry.key,
        tags=entry.tags,
        own=mine,
        other=other,
        costs=costs(usage, first, second, entry.at),
    )


def _bounded(own: BuiltConfig, site: BuiltConfig) -> bool:
    """Whether what recent traffic says of shares holds for the candidate too."""
    mine, other = own.router.classifier, site.router.classifier
    return (
        mine is not None
        and other is not None
        and mine.version == other.version
        and own.source.config.routing.max_share == site.source.config.routing.max_share
    )
