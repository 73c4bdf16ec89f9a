"""Reload a configuration when its files change or somebody asks for it.

A `ConfigWatcher` runs nothing and waits for nothing. A gateway asks it again and again, and so does
the supervisor of several workers. So a worker that starts later begins with what the others have.

A `Reloader` puts what the watcher finds in force in a running gateway.
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
"""The result of a look: a configuration to put in force, one that is in force already, one with a
mistake, or files that were still being written."""

LOOK_SECONDS = 0.1
"""Seconds between looks."""
_LOOKS_PER_FILE_CHECK = 10
"""Looks between two checks of the files."""
_ORDER_READ, _ORDER_ROLL_BACK = 1, 2
_MAILBOX_BYTES = 16_000_000
"""Bytes of the memory in which one process sends data to the others."""
_MAX_READS = 5
"""The number of times that files which keep changing are read before the result is `unsteady`."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """A version of the configuration that may be in force."""

    built_config: BuiltConfig
    """The configuration built, with the startup settings that the gateway started with."""
    source: ConfigSource
    """The configuration as written."""

    @property
    def version(self) -> str:
        """The version, as shown on rows."""
        return self.built_config.built_catalogue.catalogue.version


class ReloadResult(msgspec.Struct, frozen=True):
    """The result of one look."""

    kind: ResultKind
    config: ConfigVersion
    """The configuration that is to be in force."""
    changes: tuple[ConfigChange, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    is_rollback: bool = False
    """True if the configuration was in force before."""


class WorkerMailbox:
    """Orders that one of several processes receives and that apply to all, in shared memory."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, _MAILBOX_BYTES))  # unused pages take no memory
        self._values, self._data = memory[:32].cast("q"), memory[32:]

    def post_order(self, order: int, version: str, data: bytes = b"") -> int:
        """Post an order to all processes, and return its number.

        `data` is left out if the memory has no room for it.
        """
        size = len(data) if len(data) <= len(self._data) else 0
        self._data[:size] = data[:size]
        self._values[3], self._values[2] = size, int(version, 16)
        self._values[1] = order
        self._values[0] += 1
        return self._values[0]

    def read_order(self) -> tuple[int, int, int]:
        """Return the number of the last order, the order, and its version."""
        return self._values[0], self._values[1], self._values[2]

    def read_data(self) -> bytes:
        """Return the data of the last order."""
        return bytes(self._data[: self._values[3]])


class ConfigWatcher:
    """Watches the configuration. Each process has one; `initial` stays in force without `read`."""

    def __init__(
        self,
        initial: BuiltConfig,
        read: ConfigReader | None = None,
        snapshot: FileSnapshot | None = None,
        *,
        mailbox: WorkerMailbox | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`snapshot` has the files that `initial` was read from."""
        self.current = self._initial = ConfigVersion(initial, initial.source)
        """The configuration in force."""
        self.previous: ConfigVersion | None = None
        """The configuration to roll back to; None if there is none."""
        self.since = wall()
        """The time when `current` came into force, in seconds since the epoch."""
        self.last_changes: tuple[ConfigChange, ...] = ()
        """The changes that the last reload made."""
        self.mistakes: tuple[Mistake, ...] = ()
        """The reasons why the written configuration is not in force; empty if it is in force or
        rolled back."""
        self.mistakes_since = 0.0
        self.is_rolled_back = False
        """True if the written configuration was rolled back; it stays so until the files change."""
        self._read = read
        self._snapshot = snapshot or FileSnapshot()
        self._mailbox = mailbox or WorkerMailbox()
        self._last_order_number = self._mailbox.read_order()[0]
        self._pending_state: tuple[object, ...] | None = None
        self._wall = wall
        self._look_count = 0

    def list_files(self) -> list[str]:
        """Return all files that the configuration was read from."""
        return [str(file) for file in self._snapshot.file_states]

    def is_due(self) -> bool:
        """Return True if `check` has something to do. The caller asks ten times a second."""
        self._look_count += 1
        return (
            self._look_count % _LOOKS_PER_FILE_CHECK == 0
            or self._mailbox.read_order()[0] != self._last_order_number
        )

    def check(self) -> ReloadResult | None:
        """Follow orders of other processes and changes of files; None if there is nothing to do.

        Files that have changed are read once they have been the same for two looks, since they may
        be half written. If this takes a configuration, it notifies the other processes. Raises
        nothing. Blocks while it reads.
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
        """Read what is written now, and return what is to become of it. Blocks.

        `dry`: True to change nothing. Otherwise the caller must pass the result to `note_result`,
        whatever it is.
        """
        if self._read is None:
            message = "this configuration has no files, so the gateway cannot read it again."
            return ReloadResult("refused", self.current, mistakes=(Mistake(message=message),))
        for _ in range(_MAX_READS):
            snapshot, config, mistakes = FileSnapshot(), self.current, tuple[Mistake, ...]()
            try:
                with process.pause_cycle_search():
                    config = self._make_version(self._read(snapshot))
            except ConfigError as error:
                mistakes = tuple(error.mistakes)
            except Exception as error:  # noqa: BLE001 - no error may end the old configuration
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
        """Return a result that goes back to the earlier configuration, or a refusal."""
        if self.previous is None:
            message = "there is no earlier configuration to restore."
            return ReloadResult("refused", self.current, mistakes=(Mistake(message=message),))
        return ReloadResult(
            "taken", self.previous, self._list_changes(self.previous), is_rollback=True
        )

    def note_result(self, result: ReloadResult) -> None:
        """Note that a result was put in force, or that it was not."""
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
        """Order the other processes to read what this one has read, or to roll back."""
        version = (config or self.current).version
        data = b"" if is_rollback else self._snapshot.dump()
        self._last_order_number = self._mailbox.post_order(
            _ORDER_ROLL_BACK if is_rollback else _ORDER_READ, version, data
        )

    def run_once(self, *, must_read: bool) -> None:
        """Do one look for a process without an event loop, each time that it wakes.

        `must_read`: True if all processes must read the files. This logs nothing; the workers do.
        """
        if must_read:
            self.note_result(self.read())
            self.notify_workers()  # afterwards: workers that start later have it too
        elif self.is_due() and (result := self.check()) is not None:
            self.note_result(result)

    def list_waiting_changes(self) -> list[str]:
        """Return the paths of parts that take effect only at the next start of the gateway."""
        return [
            change.path
            for change in list_changes(self._initial.source, self.current.source)
            if change.waits
        ]

    def _follow_order(self, order: int, version: int) -> ReloadResult | None:
        """Follow the order that another process has posted."""
        if order == _ORDER_READ:
            result = self.read()
            is_behind = int(self.current.version, 16) != version
            if is_behind and result.kind in (
                "refused",
                "unsteady",
            ):  # the files have changed again meanwhile
                return self._read_mailbox(version, result.mistakes) or result
            return result
        if int(self.current.version, 16) == version:
            return None if self.previous is None else self.prepare_rollback()
        result = self.read()  # this process never had that version, and must not take it now
        is_rolled_back = result.kind == "taken" and int(result.config.version, 16) == version
        return None if is_rolled_back else result

    def _read_mailbox(self, version: int, mistakes: tuple[Mistake, ...]) -> ReloadResult | None:
        """Return the configuration that another process has read, if it is the wanted version.

        None if it is not. `mistakes` are the mistakes that the files have by now.
        """
        if self._read is None:
            return None
        try:
            config = self._make_version(self._read(FileSnapshot(self._mailbox.read_data())))
        except Exception:  # noqa: BLE001 - then only the files count
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
"""The most changes and mistakes of one reload that the log shows."""


class Reloader:
    """Puts results in force: it reads them off the event loop, and swaps between two calls."""

    def __init__(
        self, watcher: ConfigWatcher, swap: Callable[[BuiltConfig], None], log: Log
    ) -> None:
        """`swap` puts a configuration in force for new calls, or raises ConfigError."""
        self.watcher = watcher
        self._swap = swap
        self._log = log
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[ReloadResult]] = set()
        self.reload_count = 0
        """The number of times that another configuration was put in force."""
        self.failure_count = 0
        """The number of times that a configuration was not, because it had a mistake."""
        self.slowest_swap = 0.0
        """The longest time that a swap blocked the event loop, in seconds."""

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look for orders ten times a second and at the files once a second, until cancelled."""
        while True:
            await sleep(LOOK_SECONDS)
            if not self.watcher.is_due():
                continue
            async with self._lock:
                result = await asyncio.to_thread(self.watcher.check)
                if result is not None:
                    self._put_in_force(result)

    async def read(self, *, dry: bool = False) -> ReloadResult:
        """Read the files now and put the result in force; `dry`: only return the result."""
        async with self._lock:
            result = await asyncio.to_thread(self.watcher.read, dry=dry)
            if dry:
                return result
            result = self._put_in_force(result)
            if result.kind in ("taken", "same"):
                self.watcher.notify_workers()
            return result

    async def roll_back(self, *, dry: bool = False) -> ReloadResult:
        """Roll back to the configuration in force before, until the files change again."""
        async with self._lock:
            result = self.watcher.prepare_rollback()
            if dry or result.kind == "refused":
                return result
            self.watcher.notify_workers(is_rollback=True)
            return self._put_in_force(result)

    def start_read(self) -> None:
        """Start to read the files; no caller waits for the result."""
        task = asyncio.create_task(self.read())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for reads that `start_read` began."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def state(self) -> dict[str, Json]:
        """Return the configuration in force and the reasons, as plain values."""
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
        """Return the state in a few metrics for Prometheus."""
        stale = GaugeMetric(
            "config_refused",
            "1 while the configuration files have a mistake, and an earlier configuration is "
            "in force.",
            lambda: float(bool(self.watcher.mistakes)),
            "max",
        )
        return (stale,), (
            CounterMetric(
                "config_reloads",
                "Reloads that put another configuration in force.",
                lambda: self.reload_count,
            ),
            CounterMetric(
                "config_reload_failures",
                "Reloads refused because of a mistake.",
                lambda: self.failure_count,
            ),
        )

    def _put_in_force(self, result: ReloadResult) -> ReloadResult:
        """Put a result in force if possible, note and log it, and return the final result."""
        if result.kind == "taken":
            started_at = time.perf_counter()
            try:
                self._swap(result.config.built_config)
            except ConfigError as error:
                result = ReloadResult(
                    "refused", self.watcher.current, mistakes=tuple(error.mistakes)
                )
            except Exception as error:  # noqa: BLE001 - no error may end the old configuration
                self._log("bug", error=locate_error(error))
                text = "the gateway cannot build it; the log has the reason."
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
                self._log("config", waits=waiting_changes, text="these changes need a restart")


def _describe_error(watcher: ConfigWatcher) -> Json:
    if not watcher.mistakes:
        return None
    return {
        "at": round(watcher.mistakes_since, 3),
        "mistakes": [str(mistake) for mistake in watcher.mistakes],
    }
