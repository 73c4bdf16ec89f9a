"""A candidate configuration decides live calls once more, and acts on nothing.

It is a replay of calls that are just over. Nobody waits for it: a call is put aside when its row is
written, and decided again between others, for a twentieth of the time at most. Where there is no
room the call is left out, and counted.
"""

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow, ReplayRow
from gateway.limits.load_shedding import LoadShedder
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.runtime.build import BuiltConfig
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.file_snapshot import FileSnapshot
from gateway.telemetry import process
from gateway.telemetry.log import Log, where

if TYPE_CHECKING:
    from gateway.evaluation.replay.replay import LedgerReplay

type Read = Callable[[Path, FileSnapshot], BuiltConfig]
"""Reads, checks and builds a candidate. Raises ConfigError."""

_EVERY = 1.0
"""Seconds between looks at the candidate's files."""
_MOST = 256
"""Calls that wait to be decided again."""
_CALLS = 20_000
"""Calls after which counts begin anew: conversations and names of tags take memory."""
_LARGE = 100_000
"""Characters of a last user turn from which on a call is left out: patterns search it all."""
_REST = 19.0
"""Of the time that a decision takes, how often it rests after it."""
_TOLD = 20
"""Mistakes that the log has of a candidate."""


class Shadow:
    """One in each process; without a candidate it does nothing."""

    def __init__(
        self,
        read: Read,
        log: Log,
        *,
        pressure: LoadShedder | None = None,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._log = log
        self._pressure = pressure
        self._wall = wall
        self._sleep = sleep
        self._version = ""
        """Of the configuration in force."""
        self._file: Path | None = None
        self._share = 1.0
        self._site: BuiltConfig | None = None
        """The candidate; None while there is none that may be used."""
        self._reads: FileSnapshot | None = None
        """What it was read from; None where it is to be read."""
        self._seen: tuple[object, ...] | None = None
        self._mistakes: tuple[Mistake, ...] = ()
        self._waiting: asyncio.Queue[tuple[LedgerReplay, FinalRow, DecisionRecorder]] = (
            asyncio.Queue(_MOST)
        )
        self._call: Features | None = None
        """The call that is being decided."""
        self._begin()

    def _begin(self) -> None:
        """Count anew: one of the two configurations is another, or there were enough calls."""
        site = self._site
        self._walk = None
        if site is not None:
            # Where there is no candidate, a serving gateway imports nothing of evaluation.
            from gateway.evaluation.replay.replay import walker  # noqa: PLC0415

            self._walk = walker(site.router, site.source.config, lambda *_: self._call)
        self.since = self._wall()
        self.skipped = 0
        """Calls that there was no room for."""
        self.failures: Counter[str] = Counter()
        """Calls at which the candidate failed, by the kind of error and its place."""

    @property
    def on(self) -> bool:
        """True if there is to be a candidate."""
        return self._file is not None

    def adopt(self, site: BuiltConfig) -> None:
        """Take another configuration, which says what its candidate is."""
        name = site.source.config.routing.shadow
        file = site.source.file.parent / name if name else None
        if file != self._file or file is None:
            self._site, self._reads, self._mistakes = None, None, ()
        self._file, self._version = file, site.built.catalogue.version
        self._share = site.source.config.routing.shadow_share
        self._begin()

    def note(self, entry: FinalRow, case: object) -> None:
        """Put a call aside that is over. Costs nothing but where it is to be decided again."""
        if self._walk is None or not isinstance(case, DecisionRecorder):
            return
        if self._share < 1 and zlib.crc32(entry.id.encode()) >= self._share * 2**32:
            return
        pressed = self._pressure is not None and self._pressure.level
        if pressed or self._waiting.full() or len(case.call.prompt.user) > _LARGE:
            self.skipped += 1
        else:
            self._waiting.put_nowait((self._walk, entry, case))

    async def work(self) -> None:
        """Decide what waits, between other calls, until cancelled."""
        while True:
            walk, entry, case = await self._waiting.get()
            began = time.perf_counter()
            if walk is self._walk:
                self._decide(walk, entry, case)
            await self._sleep((time.perf_counter() - began) * _REST)

    def _decide(self, walk: "LedgerReplay", entry: FinalRow, case: DecisionRecorder) -> None:
        self._call = case.call
        row = ReplayRow(**{name: getattr(entry, name) for name in ReplayRow.__struct_fields__})
        try:
            walk.take(row)
        except Exception as error:  # noqa: BLE001 - a candidate disturbs nobody
            self.failures[where(error)] += 1
        finally:
            self._call = None
        if walk.sums.total.calls >= _CALLS:
            self._begin()

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
            steady, self._seen = now == self._seen, now
            if now == self._reads.then() or not steady:
                return
        await self._load(self._file)

    async def _load(self, file: Path) -> None:
        """Read the candidate now. One with a mistake is told of, and not used."""
        reads, site, mistakes = FileSnapshot(), None, tuple[Mistake, ...]()
        try:
            site = await asyncio.to_thread(self._quietly, file, reads)
        except ConfigError as error:
            mistakes = tuple(error.mistakes)
        except Exception as error:  # noqa: BLE001 - a candidate disturbs nobody
            mistakes = (Mistake(message=f"cannot be read: {where(error)}."),)
        if file != self._file:
            return  # another is asked for meanwhile
        self._reads, self._site, self._mistakes = reads, site, mistakes
        self._begin()
        for one in mistakes[:_TOLD]:
            text = f"{one.path}: {one.message}" if one.path else one.message
            self._log("shadow", file=one.file or str(file), line=one.line, error=text)
        if site is not None:
            version = site.built.catalogue.version
            self._log("shadow", version=version, text="decides beside what is in force")

    def _quietly(self, file: Path, reads: FileSnapshot) -> BuiltConfig:
        with process.quietly():
            return self._read(file, reads)

    def state(self) -> dict[str, Json]:
        """Return what was found, as plain values; `report` is that of a replay."""
        from gateway.evaluation.replay import report  # noqa: PLC0415 - as above

        site, walk = self._site, self._walk
        candidate = None if site is None else site.built.catalogue.version
        return {
            "file": None if self._file is None else str(self._file),
            "version": self._version,
            "candidate": candidate,
            "mistakes": [str(one) for one in self._mistakes],
            "since": round(self.since, 3),
            "share": self._share,
            "waiting": self._waiting.qsize(),
            "skipped": self.skipped,
            "failed": self.failures.total(),
            "failures": dict(self.failures),
            "report": None if walk is None else report.view(walk.sums, candidate or ""),
        }
