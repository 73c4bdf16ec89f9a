"""Let a candidate configuration decide live calls once more, without effect.

The shadow replays calls that have just ended, and no client waits for it. It queues a call when the
call's row is written, and decides it between other calls. That takes at most a twentieth of the
time. A call that finds no room is skipped and counted.
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
from gateway.telemetry.log import Log, locate_error

if TYPE_CHECKING:
    from gateway.evaluation.replay.replay import LedgerReplay

type CandidateReader = Callable[[Path, FileSnapshot], BuiltConfig]
"""Reads, checks and builds a candidate. Raises ConfigError."""

_LOOK_SECONDS = 1.0
"""Seconds between looks at the candidate's files."""
_MAX_WAITING_CALLS = 256
"""The most calls that wait for the candidate's decision."""
_MAX_COUNTED_CALLS = 20_000
"""The number of calls after which counts restart: conversations and tag names take memory."""
_LARGE_TURN_CHARS = 100_000
"""The most characters of a last user turn. A longer turn is skipped, since patterns search it
all."""
_REST_FACTOR = 19.0
"""The pause after a decision, as a multiple of the time that it took."""
_MAX_LOGGED_MISTAKES = 20
"""The most mistakes of a candidate that the log shows."""


class Shadow:
    """Decides calls with a candidate. Each process has one; without a candidate it is idle."""

    def __init__(
        self,
        read: CandidateReader,
        log: Log,
        *,
        load_shedder: LoadShedder | None = None,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._log = log
        self._load_shedder = load_shedder
        self._wall = wall
        self._sleep = sleep
        self._current_version = ""
        """The version of the configuration in force."""
        self._candidate_file: Path | None = None
        self._sample = 1.0
        self.candidate: BuiltConfig | None = None
        """The candidate; None if there is none that can be used."""
        self._snapshot: FileSnapshot | None = None
        """The files that the candidate was read from; None if it must be read."""
        self._pending_state: tuple[object, ...] | None = None
        self._mistakes: tuple[Mistake, ...] = ()
        self._queue: asyncio.Queue[tuple[LedgerReplay, FinalRow, DecisionRecorder]] = asyncio.Queue(
            _MAX_WAITING_CALLS
        )
        self._features: Features | None = None
        """The features of the call that is being decided."""
        self._restart_counts()

    def _restart_counts(self) -> None:
        """Restart all counts: a configuration has changed, or there were enough calls."""
        candidate = self.candidate
        self._replay = None
        if candidate is not None:
            # Without a candidate, a serving gateway imports nothing of evaluation.
            from gateway.evaluation.replay.replay import build_replay  # noqa: PLC0415

            self._replay = build_replay(
                candidate.router, candidate.source.config, lambda *_: self._features
            )
        self.since = self._wall()
        self.skipped_count = 0
        """The number of calls that were skipped for lack of room."""
        self.failures: Counter[str] = Counter()
        """The number of calls at which the candidate failed, by the kind of error and its place."""

    @property
    def is_enabled(self) -> bool:
        """True if the configuration in force names a candidate."""
        return self._candidate_file is not None

    def adopt(self, built_config: BuiltConfig) -> None:
        """Adopt another configuration in force; it says which candidate to use."""
        name = built_config.source.config.routing.shadow
        file = built_config.source.file.parent / name if name else None
        if file != self._candidate_file or file is None:
            self.candidate, self._snapshot, self._mistakes = None, None, ()
        self._candidate_file = file
        self._current_version = built_config.built_catalogue.catalogue.version
        self._sample = built_config.source.config.routing.shadow_sample
        self._restart_counts()

    def enqueue(self, row: FinalRow, decision_recorder: object) -> None:
        """Queue an ended call. If the candidate is not to decide it, this costs almost nothing."""
        if self._replay is None or not isinstance(decision_recorder, DecisionRecorder):
            return
        if self._sample < 1 and zlib.crc32(row.id.encode()) >= self._sample * 2**32:
            return
        is_overloaded = self._load_shedder is not None and self._load_shedder.level
        if (
            is_overloaded
            or self._queue.full()
            or len(decision_recorder.call.prompt.user) > _LARGE_TURN_CHARS
        ):
            self.skipped_count += 1
        else:
            self._queue.put_nowait((self._replay, row, decision_recorder))

    async def decide_queued(self) -> None:
        """Decide queued calls between other calls, until cancelled."""
        while True:
            replay, row, decision_recorder = await self._queue.get()
            started_at = time.perf_counter()
            if replay is self._replay:
                self._decide(replay, row, decision_recorder)
            await self._sleep((time.perf_counter() - started_at) * _REST_FACTOR)

    def _decide(
        self, replay: "LedgerReplay", final_row: FinalRow, decision_recorder: DecisionRecorder
    ) -> None:
        self._features = decision_recorder.call
        row = ReplayRow(**{name: getattr(final_row, name) for name in ReplayRow.__struct_fields__})
        try:
            replay.replay_row(row)
        except Exception as error:  # noqa: BLE001 - a candidate disturbs nobody
            self.failures[locate_error(error)] += 1
        finally:
            self._features = None
        if replay.totals.total.calls >= _MAX_COUNTED_CALLS:
            self._restart_counts()

    async def watch(self) -> None:
        """Read the candidate, and read it again when its files change, until cancelled."""
        while True:
            await self.refresh()
            await self._sleep(_LOOK_SECONDS)

    async def refresh(self) -> None:
        """Read the candidate if it is new, or if its files have changed and are steady again."""
        if self._candidate_file is None:
            return
        if self._snapshot is not None:
            state = await asyncio.to_thread(self._snapshot.read_current_state)
            is_steady, self._pending_state = state == self._pending_state, state
            if state == self._snapshot.list_recorded_state() or not is_steady:
                return
        await self._load(self._candidate_file)

    async def _load(self, file: Path) -> None:
        """Read the candidate now. One with a mistake is logged and not used."""
        snapshot, candidate, mistakes = FileSnapshot(), None, tuple[Mistake, ...]()
        try:
            candidate = await asyncio.to_thread(self._read_quietly, file, snapshot)
        except ConfigError as error:
            mistakes = tuple(error.mistakes)
        except Exception as error:  # noqa: BLE001 - a candidate disturbs nobody
            mistakes = (Mistake(message=f"cannot be read: {locate_error(error)}."),)
        if file != self._candidate_file:
            return  # the configuration names another file by now
        self._snapshot, self.candidate, self._mistakes = snapshot, candidate, mistakes
        self._restart_counts()
        for mistake in mistakes[:_MAX_LOGGED_MISTAKES]:
            location = mistake.file or str(file)
            self._log("shadow", file=location, line=mistake.line, error=mistake.text)
        if candidate is not None:
            version = candidate.built_catalogue.catalogue.version
            self._log("shadow", version=version, text="decides beside what is in force")

    def _read_quietly(self, file: Path, snapshot: FileSnapshot) -> BuiltConfig:
        with process.pause_cycle_search():
            return self._read(file, snapshot)

    def state(self) -> dict[str, Json]:
        """Return the state of the shadow as plain values; `report` is that of a replay."""
        from gateway.evaluation.replay import report  # noqa: PLC0415 - as above

        built_config, replay = self.candidate, self._replay
        candidate_version = (
            None if built_config is None else built_config.built_catalogue.catalogue.version
        )
        return {
            "file": None if self._candidate_file is None else str(self._candidate_file),
            "version": self._current_version,
            "candidate": candidate_version,
            "mistakes": [str(mistake) for mistake in self._mistakes],
            "since": round(self.since, 3),
            "sample": self._sample,
            "waiting": self._queue.qsize(),
            "skipped": self.skipped_count,
            "failed": self.failures.total(),
            "failures": dict(self.failures),
            "report": None
            if replay is None
            else report.describe_totals(replay.totals, candidate_version or ""),
        }
