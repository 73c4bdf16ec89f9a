"""The configuration as its files change: what holds, what held before, and what is wrong with it.

Nothing waits here and nothing runs: a gateway asks again and again, and so does the supervisor of
several, so that a worker that is born later begins with what the others have.

A running gateway goes by another configuration: as its files change, and as it is told to.
"""

import asyncio
import mmap
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from gateway.core.jsonio import Json
from gateway.runtime.build import BuiltConfig
from gateway.settings.diff import (
    ConfigChange,
    keep_startup_settings,
    list_changes,
    list_switched_labs,
)
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import ConfigSource
from gateway.telemetry import process
from gateway.telemetry.log import Log, locate_error
from gateway.telemetry.metrics import CounterMetric, GaugeMetric

type ConfigReader = Callable[[FileSnapshot], BuiltConfig]
"""Reads, checks and builds what is written. Raises ConfigError."""
type ResultKind = Literal["taken", "same", "refused", "unsteady"]
"""What becomes of what was found: it is put in force, it is what is in force already, it has a
mistake, or it was being written meanwhile."""

LOOK_SECONDS = 0.1
"""Seconds between looks."""
_LOOKS_PER_FILE_CHECK = 10
"""Looks from one at the files to the next."""
_ORDER_READ, _ORDER_ROLL_BACK = 1, 2
_MAILBOX_BYTES = 16_000_000
"""Bytes of what one process tells the others."""
_MAX_READS = 5
"""Times that files which change are read when somebody asks for it, before he is told so."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """A configuration as it may be in force."""

    built_config: BuiltConfig
    """What a running gateway cannot change is as it was at its start."""
    source: ConfigSource
    """As it is written."""

    @property
    def version(self) -> str:
        """As it stands on rows."""
        return self.built_config.built_catalogue.catalogue.version


class ReloadResult(msgspec.Struct, frozen=True):
    """What one look has found."""

    kind: ResultKind
    config: ConfigVersion
    """What is to be in force."""
    changes: tuple[ConfigChange, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    is_rollback: bool = False
    """It was in force before."""


class WorkerMailbox:
    """What is asked of one process of several and holds for all, in memory that they share."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, _MAILBOX_BYTES))  # what is not used takes no room
        self._values, self._data = memory[:32].cast("q"), memory[32:]

    def post_order(self, order: int, version: str, data: bytes = b"") -> int:
        """Tell all; gives the number of this order. `data` is left out where it has no room."""
        size = len(data) if len(data) <= len(self._data) else 0
        self._data[:size] = data[:size]
        self._values[3], self._values[2] = size, int(version, 16)
        self._values[1] = order
        self._values[0] += 1
        return self._values[0]

    def read_order(self) -> tuple[int, int, int]:
        """The number of the last one, what it says, and of which version."""
        return self._values[0], self._values[1], self._values[2]

    def read_data(self) -> bytes:
        """What came with it."""
        return bytes(self._data[: self._values[3]])


class ConfigWatcher:
    """One in each process. `initial` is in force at its start; without `read` it stays so."""

    def __init__(
        self,
        initial: BuiltConfig,
        read: ConfigReader | None = None,
        snapshot: FileSnapshot | None = None,
        *,
        mailbox: WorkerMailbox | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`snapshot` has what `initial` was read from."""
        self.current = self._initial = ConfigVersion(initial, initial.source)
        """In force."""
        self.previous: ConfigVersion | None = None
        """What was in force before, to go back to."""
        self.since = wall()
        """Seconds since the epoch."""
        self.last_changes: tuple[ConfigChange, ...] = ()
        """What the last change was."""
        self.mistakes: tuple[Mistake, ...] = ()
        """Why what is written is not in force; empty where it is, or was gone back from."""
        self.mistakes_since = 0.0
        self.is_rolled_back = False
        """Whether what is written was gone back from: it stays so until it changes."""
        self._read = read
        self._snapshot = snapshot or FileSnapshot()
        self._mailbox = mailbox or WorkerMailbox()
        self._last_order_number = self._mailbox.read_order()[0]
        self._pending_state: tuple[object, ...] | None = None
        self._wall = wall
        self._look_count = 0

    def list_files(self) -> list[str]:
        """All that it was read from."""
        return [str(file) for file in self._snapshot.file_states]

    def is_due(self) -> bool:
        """To be asked ten times a second: whether `check` has something to do."""
        self._look_count += 1
        return (
            self._look_count % _LOOKS_PER_FILE_CHECK == 0
            or self._mailbox.read_order()[0] != self._last_order_number
        )

    def check(self) -> ReloadResult | None:
        """What others have done, or the files have become; None where nothing is to be done.

        What has changed is read once it has been the same for two looks: it may be half written.
        Others are told of what is taken. Raises nothing. Blocks while it reads.
        """
        order_number, order, version = self._mailbox.read_order()
        if order_number != self._last_order_number:
            self._last_order_number = order_number
            return self._follow_order(order, version)
        state = self._snapshot.read_current_state()
        if state == self._snapshot.list_recorded_state():
            self._pending_state = None
            return None
        if state != self._pending_state:
            self._pending_state = state
            return None
        result = self.read()
        if result.kind == "taken":
            self.notify_workers(result.config)
        return None if result.kind == "unsteady" else result

    def read(self, *, dry: bool = False) -> ReloadResult:
        """Read what is written now, and say what is to become of it. Blocks.

        `dry`: only to say so; else `note_result` is to be told, whatever was found.
        """
        if self._read is None:
            message = "this configuration was given, and cannot be read again."
            return ReloadResult("refused", self.current, mistakes=(Mistake(message=message),))
        for _ in range(_MAX_READS):
            snapshot, config, mistakes = FileSnapshot(), self.current, tuple[Mistake, ...]()
            try:
                with process.pause_cycle_search():
                    config = self._make_version(self._read(snapshot))
            except ConfigError as error:
                mistakes = tuple(error.mistakes)
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays so
                mistakes = (Mistake(message=f"cannot be read: {locate_error(error)}."),)
            if snapshot.is_unchanged():
                break
        else:
            return ReloadResult("unsteady", self.current)
        if not dry:
            self._snapshot, self._pending_state = snapshot, None
        if mistakes:
            return ReloadResult("refused", self.current, mistakes=mistakes)
        differences = self._list_changes(config)
        is_same = not differences and config.version == self.current.version
        return ReloadResult("same" if is_same else "taken", config, differences)

    def prepare_rollback(self) -> ReloadResult:
        """What was in force before, to be taken in place of what is."""
        if self.previous is None:
            message = "there is no earlier configuration to go back to."
            return ReloadResult("refused", self.current, mistakes=(Mistake(message=message),))
        return ReloadResult(
            "taken", self.previous, self._list_changes(self.previous), is_rollback=True
        )

    def note_result(self, result: ReloadResult) -> None:
        """It has been put in force, or not."""
        if result.kind == "unsteady":
            return
        if result.kind == "refused":
            if result.mistakes != self.mistakes:
                self.mistakes, self.mistakes_since = result.mistakes, self._wall()
            return
        self.mistakes = result.mistakes
        if result.mistakes:
            self.mistakes_since = self._wall()
        if result.kind == "taken":
            self.previous = None if result.is_rollback else self.current
            self.current, self.last_changes, self.since = (
                result.config,
                result.changes,
                self._wall(),
            )
        self.is_rolled_back = result.is_rollback

    def notify_workers(
        self, config: ConfigVersion | None = None, *, is_rollback: bool = False
    ) -> None:
        """The others are to take what this one takes, or to go back from what is in force."""
        version = (config or self.current).version
        data = b"" if is_rollback else self._snapshot.dump()
        self._last_order_number = self._mailbox.post_order(
            _ORDER_ROLL_BACK if is_rollback else _ORDER_READ, version, data
        )

    def run_once(self, *, must_read: bool) -> None:
        """What a process without a loop does each time that it wakes; `must_read`: all are to read.

        It says nothing: those that serve do.
        """
        if must_read:
            self.note_result(self.read())
            self.notify_workers()  # then: whoever is born after others have taken it has it too
        elif self.is_due() and (result := self.check()) is not None:
            self.note_result(result)

    def list_waiting_changes(self) -> list[str]:
        """The parts that take effect when the gateway is started anew."""
        return [
            change.path
            for change in list_changes(self._initial.source, self.current.source)
            if change.waits
        ]

    def _follow_order(self, order: int, version: int) -> ReloadResult | None:
        """Do as another process has done."""
        if order == _ORDER_READ:
            result = self.read()
            is_behind = int(self.current.version, 16) != version
            if is_behind and result.kind in (
                "refused",
                "unsteady",
            ):  # it has changed again meanwhile
                return self._read_mailbox(version, result.mistakes) or result
            return result
        if int(self.current.version, 16) == version:
            return None if self.previous is None else self.prepare_rollback()
        result = self.read()  # it was not here yet, and is not to come
        is_rolled_back = result.kind == "taken" and int(result.config.version, 16) == version
        return None if is_rolled_back else result

    def _read_mailbox(self, version: int, mistakes: tuple[Mistake, ...]) -> ReloadResult | None:
        """What another process has read, where it is that version; `mistakes` are in it by now."""
        if self._read is None:
            return None
        try:
            config = self._make_version(self._read(FileSnapshot(self._mailbox.read_data())))
        except Exception:  # noqa: BLE001 - then what is written now is all that there is
            return None
        if int(config.version, 16) != version:
            return None
        return ReloadResult("taken", config, self._list_changes(config), mistakes)

    def _make_version(self, built_config: BuiltConfig) -> ConfigVersion:
        source = built_config.source
        config = keep_startup_settings(self._initial.source.config, source.config)
        return ConfigVersion(
            msgspec.structs.replace(
                built_config, source=msgspec.structs.replace(source, config=config)
            ),
            source,
        )

    def _list_changes(self, config: ConfigVersion) -> tuple[ConfigChange, ...]:
        current = self.current
        return (
            *list_switched_labs(
                current.built_config.built_catalogue, config.built_config.built_catalogue
            ),
            *list_changes(current.source, config.source),
        )


_MAX_LOGGED = 20
"""Changes and mistakes that the log has of one reload."""


class Reloader:
    """Puts in force what a renewal finds: read beside the loop, swapped between two calls."""

    def __init__(
        self, watcher: ConfigWatcher, swap: Callable[[BuiltConfig], None], log: Log
    ) -> None:
        """`swap` lets calls that begin from now on go by a configuration, or raises ConfigError."""
        self.watcher = watcher
        self._swap = swap
        self._log = log
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[ReloadResult]] = set()
        self.reload_count = 0
        """Times that another configuration was put in force."""
        self.failure_count = 0
        """Times that one was not, as it had a mistake."""
        self.slowest_swap = 0.0
        """Seconds that the loop was held at most to put one in force."""

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look at the files once a second, until cancelled."""
        while True:
            await sleep(LOOK_SECONDS)
            if not self.watcher.is_due():
                continue
            async with self._lock:
                result = await asyncio.to_thread(self.watcher.check)
                if result is not None:
                    self._put_in_force(result)

    async def read(self, *, dry: bool = False) -> ReloadResult:
        """Read the files now; `dry`: only to say what would become of it."""
        async with self._lock:
            result = await asyncio.to_thread(self.watcher.read, dry=dry)
            if dry:
                return result
            result = self._put_in_force(result)
            if result.kind in ("taken", "same"):
                self.watcher.notify_workers()
            return result

    async def roll_back(self, *, dry: bool = False) -> ReloadResult:
        """Go back to what was in force before, until the files change again."""
        async with self._lock:
            result = self.watcher.prepare_rollback()
            if dry or result.kind == "refused":
                return result
            self.watcher.notify_workers(is_rollback=True)
            return self._put_in_force(result)

    def start_read(self) -> None:
        """Read the files now, where nobody waits for what becomes of it."""
        task = asyncio.create_task(self.read())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for what is being read."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def state(self) -> dict[str, Json]:
        """What is in force and why, as plain values."""
        watcher = self.watcher
        previous = watcher.previous
        return {
            "version": watcher.current.version,
            "since": round(watcher.since, 3),
            "file": str(watcher.current.source.file),
            "files": [*watcher.list_files()],
            "changes": [str(change) for change in watcher.last_changes],
            "previous": None if previous is None else previous.version,
            "rolled_back": watcher.is_rolled_back,
            "waiting": [*watcher.list_waiting_changes()],
            "last_error": _describe_error(watcher),
            "reloads": self.reload_count,
            "failures": self.failure_count,
            "slowest_swap": round(self.slowest_swap, 6),
        }

    def measures(self) -> tuple[tuple[GaugeMetric, ...], tuple[CounterMetric, ...]]:
        """The same in a few numbers for Prometheus."""
        stale = GaugeMetric(
            "config_refused",
            "1 where the configuration as it is written has a mistake, and an earlier one holds.",
            lambda: float(bool(self.watcher.mistakes)),
            "max",
        )
        return (stale,), (
            CounterMetric(
                "config_reloads", "Times that another was put in force.", lambda: self.reload_count
            ),
            CounterMetric(
                "config_reload_failures",
                "Times that one had a mistake.",
                lambda: self.failure_count,
            ),
        )

    def _put_in_force(self, result: ReloadResult) -> ReloadResult:
        """Put it in force where it may be."""
        if result.kind == "taken":
            started_at = time.perf_counter()
            try:
                self._swap(result.config.built_config)
            except ConfigError as error:
                result = ReloadResult(
                    "refused", self.watcher.current, mistakes=tuple(error.mistakes)
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays so
                self._log("bug", error=locate_error(error))
                text = "it cannot be put together; the log has the reason."
                result = ReloadResult(
                    "refused", self.watcher.current, mistakes=(Mistake(message=text),)
                )
            self.slowest_swap = max(self.slowest_swap, time.perf_counter() - started_at)
        self.watcher.note_result(result)
        self._log_result(result)
        return result

    def _log_result(self, result: ReloadResult) -> None:
        version = self.watcher.current.version
        self.failure_count += bool(result.mistakes)
        for item in result.mistakes[:_MAX_LOGGED]:
            text = item.text
            text += f" {item.hint}" if item.hint else ""
            text += f" Version {version} stays in force."
            self._log("config", file=item.file or None, line=item.line, error=text)
        if result.kind == "taken":
            self.reload_count += 1
            change_texts = [str(item) for item in result.changes[:_MAX_LOGGED]]
            omitted_count = len(result.changes) - len(change_texts)
            change_texts += [f"and {omitted_count} more"] if omitted_count else []
            text = "went back" if result.is_rollback else "in force"
            self._log("config", version=version, text=text, changes=change_texts)
            if waiting_changes := self.watcher.list_waiting_changes():
                self._log(
                    "config", waits=waiting_changes, text="these wait until it is started anew"
                )


def _describe_error(watcher: ConfigWatcher) -> Json:
    if not watcher.mistakes:
        return None
    return {
        "at": round(watcher.mistakes_since, 3),
        "mistakes": [str(mistake) for mistake in watcher.mistakes],
    }
