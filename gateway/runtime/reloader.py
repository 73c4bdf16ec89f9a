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
from gateway.settings.diff import ConfigChange, changes, lasting, switched
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import ConfigSource
from gateway.telemetry import process
from gateway.telemetry.log import Log, where
from gateway.telemetry.metrics import CounterMetric, GaugeMetric

type Read = Callable[[FileSnapshot], BuiltConfig]
"""Reads, checks and builds what is written. Raises ConfigError."""
type Kind = Literal["taken", "same", "refused", "unsteady"]
"""What becomes of what was found: it is put in force, it is what is in force already, it has a
mistake, or it was being written meanwhile."""

EVERY = 0.1
"""Seconds between looks."""
_FILES = 10
"""Looks from one at the files to the next."""
_AGAIN, _BACK = 1, 2
_MEMORY = 16_000_000
"""Bytes of what one process tells the others."""
_TRIES = 5
"""Times that files which change are read when somebody asks for it, before he is told so."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """A configuration as it may be in force."""

    site: BuiltConfig
    """What a running gateway cannot change is as it was at its start."""
    written: ConfigSource
    """As it is written."""

    @property
    def version(self) -> str:
        """As it stands on rows."""
        return self.site.built.catalogue.version


class ReloadResult(msgspec.Struct, frozen=True):
    """What one look has found."""

    kind: Kind
    text: ConfigVersion
    """What is to be in force."""
    changes: tuple[ConfigChange, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    back: bool = False
    """It was in force before."""


class WorkerMailbox:
    """What is asked of one process of several and holds for all, in memory that they share."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, _MEMORY))  # what is not used takes no room
        self._values, self._data = memory[:32].cast("q"), memory[32:]

    def give(self, what: int, version: str, data: bytes = b"") -> int:
        """Tell all; gives the number of this order. `data` is left out where it has no room."""
        size = len(data) if len(data) <= len(self._data) else 0
        self._data[:size] = data[:size]
        self._values[3], self._values[2] = size, int(version, 16)
        self._values[1] = what
        self._values[0] += 1
        return self._values[0]

    def last(self) -> tuple[int, int, int]:
        """The number of the last one, what it says, and of which version."""
        return self._values[0], self._values[1], self._values[2]

    def data(self) -> bytes:
        """What came with it."""
        return bytes(self._data[: self._values[3]])


class ConfigWatcher:
    """One in each process. `first` is in force at its start; without `read` it stays so."""

    def __init__(
        self,
        first: BuiltConfig,
        read: Read | None = None,
        reads: FileSnapshot | None = None,
        *,
        orders: WorkerMailbox | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`reads` has what `first` was read from."""
        self.text = self._first = ConfigVersion(first, first.source)
        """In force."""
        self.before: ConfigVersion | None = None
        """What was in force before, to go back to."""
        self.since = wall()
        """Seconds since the epoch."""
        self.last: tuple[ConfigChange, ...] = ()
        """What the last change was."""
        self.mistakes: tuple[Mistake, ...] = ()
        """Why what is written is not in force; empty where it is, or was gone back from."""
        self.wrong_since = 0.0
        self.is_back = False
        """Whether what is written was gone back from: it stays so until it changes."""
        self._read = read
        self._reads = reads or FileSnapshot()
        self._orders = orders or WorkerMailbox()
        self._heard = self._orders.last()[0]
        self._seen: tuple[object, ...] | None = None
        self._wall = wall
        self._looks = 0

    def files(self) -> list[str]:
        """All that it was read from."""
        return [str(file) for file in self._reads.files]

    def due(self) -> bool:
        """To be asked ten times a second: whether `look` has something to do."""
        self._looks += 1
        return self._looks % _FILES == 0 or self._orders.last()[0] != self._heard

    def look(self) -> ReloadResult | None:
        """What others have done, or the files have become; None where nothing is to be done.

        What has changed is read once it has been the same for two looks: it may be half written.
        Others are told of what is taken. Raises nothing. Blocks while it reads.
        """
        number, what, version = self._orders.last()
        if number != self._heard:
            self._heard = number
            return self._told(what, version)
        now = self._reads.now()
        if now == self._reads.then():
            self._seen = None
            return None
        if now != self._seen:
            self._seen = now
            return None
        found = self.read()
        if found.kind == "taken":
            self.tell(found.text)
        return None if found.kind == "unsteady" else found

    def read(self, *, dry: bool = False) -> ReloadResult:
        """Read what is written now, and say what is to become of it. Blocks.

        `dry`: only to say so; else `take` is to be told, whatever was found.
        """
        if self._read is None:
            message = "this configuration was given, and cannot be read again."
            return ReloadResult("refused", self.text, mistakes=(Mistake(message=message),))
        for _ in range(_TRIES):
            reads, text, mistakes = FileSnapshot(), self.text, tuple[Mistake, ...]()
            try:
                with process.quietly():
                    text = self._held(self._read(reads))
            except ConfigError as error:
                mistakes = tuple(error.mistakes)
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays so
                mistakes = (Mistake(message=f"cannot be read: {where(error)}."),)
            if reads.same():
                break
        else:
            return ReloadResult("unsteady", self.text)
        if not dry:
            self._reads, self._seen = reads, None
        if mistakes:
            return ReloadResult("refused", self.text, mistakes=mistakes)
        found = self._differ(text)
        same = not found and text.version == self.text.version
        return ReloadResult("same" if same else "taken", text, found)

    def back(self) -> ReloadResult:
        """What was in force before, to be taken in place of what is."""
        if self.before is None:
            message = "there is no earlier configuration to go back to."
            return ReloadResult("refused", self.text, mistakes=(Mistake(message=message),))
        return ReloadResult("taken", self.before, self._differ(self.before), back=True)

    def take(self, found: ReloadResult) -> None:
        """It has been put in force, or not."""
        if found.kind == "unsteady":
            return
        if found.kind == "refused":
            if found.mistakes != self.mistakes:
                self.mistakes, self.wrong_since = found.mistakes, self._wall()
            return
        self.mistakes = found.mistakes
        if found.mistakes:
            self.wrong_since = self._wall()
        if found.kind == "taken":
            self.before = None if found.back else self.text
            self.text, self.last, self.since = found.text, found.changes, self._wall()
        self.is_back = found.back

    def tell(self, text: ConfigVersion | None = None, *, back: bool = False) -> None:
        """The others are to take what this one takes, or to go back from what is in force."""
        version = (text or self.text).version
        data = b"" if back else self._reads.kept()
        self._heard = self._orders.give(_BACK if back else _AGAIN, version, data)

    def turn(self, *, again: bool) -> None:
        """What a process does that has no loop, each time that it wakes; `again`: all are to read.

        It says nothing: those that serve do.
        """
        if again:
            self.take(self.read())
            self.tell()  # then: whoever is born after others have taken it has it too
        elif self.due() and (found := self.look()) is not None:
            self.take(found)

    def waits(self) -> list[str]:
        """The parts that take effect when the gateway is started anew."""
        return [one.path for one in changes(self._first.written, self.text.written) if one.waits]

    def _told(self, what: int, version: int) -> ReloadResult | None:
        """Do as another process has done."""
        if what == _AGAIN:
            found = self.read()
            behind = int(self.text.version, 16) != version
            if behind and found.kind in ("refused", "unsteady"):  # it has changed again meanwhile
                return self._kept(version, found.mistakes) or found
            return found
        if int(self.text.version, 16) == version:
            return None if self.before is None else self.back()
        found = self.read()  # it was not here yet, and is not to come
        gone = found.kind == "taken" and int(found.text.version, 16) == version
        return None if gone else found

    def _kept(self, version: int, mistakes: tuple[Mistake, ...]) -> ReloadResult | None:
        """What another process has read, where it is that version; `mistakes` are in it by now."""
        if self._read is None:
            return None
        try:
            text = self._held(self._read(FileSnapshot(self._orders.data())))
        except Exception:  # noqa: BLE001 - then what is written now is all that there is
            return None
        if int(text.version, 16) != version:
            return None
        return ReloadResult("taken", text, self._differ(text), mistakes)

    def _held(self, site: BuiltConfig) -> ConfigVersion:
        written = site.source
        config = lasting(self._first.written.config, written.config)
        return ConfigVersion(
            msgspec.structs.replace(site, source=msgspec.structs.replace(written, config=config)),
            written,
        )

    def _differ(self, text: ConfigVersion) -> tuple[ConfigChange, ...]:
        now = self.text
        return (
            *switched(now.site.built, text.site.built),
            *changes(now.written, text.written),
        )


_TOLD = 20
"""Changes and mistakes that the log has of one reload."""


class Reloader:
    """Puts in force what a renewal finds: read beside the loop, swapped between two calls."""

    def __init__(
        self, renewal: ConfigWatcher, swap: Callable[[BuiltConfig], None], log: Log
    ) -> None:
        """`swap` lets calls that begin from now on go by a configuration, or raises ConfigError."""
        self.renewal = renewal
        self._swap = swap
        self._log = log
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[ReloadResult]] = set()
        self.done = 0
        """Times that another configuration was put in force."""
        self.failed = 0
        """Times that one was not, as it had a mistake."""
        self.slowest = 0.0
        """Seconds that the loop was held at most to put one in force."""

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look at the files once a second, until cancelled."""
        while True:
            await sleep(EVERY)
            if not self.renewal.due():
                continue
            async with self._turn:
                found = await asyncio.to_thread(self.renewal.look)
                if found is not None:
                    self._take(found)

    async def read(self, *, dry: bool = False) -> ReloadResult:
        """Read the files now; `dry`: only to say what would become of it."""
        async with self._turn:
            found = await asyncio.to_thread(self.renewal.read, dry=dry)
            if dry:
                return found
            found = self._take(found)
            if found.kind in ("taken", "same"):
                self.renewal.tell()
            return found

    async def back(self, *, dry: bool = False) -> ReloadResult:
        """Go back to what was in force before, until the files change again."""
        async with self._turn:
            found = self.renewal.back()
            if dry or found.kind == "refused":
                return found
            self.renewal.tell(back=True)
            return self._take(found)

    def soon(self) -> None:
        """Read the files now, where nobody waits for what becomes of it."""
        task = asyncio.create_task(self.read())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what is being read."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def state(self) -> dict[str, Json]:
        """What is in force and why, as plain values."""
        renewal = self.renewal
        before = renewal.before
        return {
            "version": renewal.text.version,
            "since": round(renewal.since, 3),
            "file": str(renewal.text.written.file),
            "files": [*renewal.files()],
            "changes": [str(one) for one in renewal.last],
            "previous": None if before is None else before.version,
            "rolled_back": renewal.is_back,
            "waiting": [*renewal.waits()],
            "last_error": _wrong(renewal),
            "reloads": self.done,
            "failures": self.failed,
            "slowest_swap": round(self.slowest, 6),
        }

    def measures(self) -> tuple[tuple[GaugeMetric, ...], tuple[CounterMetric, ...]]:
        """The same in a few numbers for Prometheus."""
        stale = GaugeMetric(
            "config_refused",
            "1 where the configuration as it is written has a mistake, and an earlier one holds.",
            lambda: float(bool(self.renewal.mistakes)),
            "max",
        )
        return (stale,), (
            CounterMetric(
                "config_reloads", "Times that another was put in force.", lambda: self.done
            ),
            CounterMetric(
                "config_reload_failures", "Times that one had a mistake.", lambda: self.failed
            ),
        )

    def _take(self, found: ReloadResult) -> ReloadResult:
        """Put it in force where it may be."""
        if found.kind == "taken":
            began = time.perf_counter()
            try:
                self._swap(found.text.site)
            except ConfigError as error:
                found = ReloadResult("refused", self.renewal.text, mistakes=tuple(error.mistakes))
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays so
                self._log("bug", error=where(error))
                text = "it cannot be put together; the log has the reason."
                found = ReloadResult(
                    "refused", self.renewal.text, mistakes=(Mistake(message=text),)
                )
            self.slowest = max(self.slowest, time.perf_counter() - began)
        self.renewal.take(found)
        self._tell(found)
        return found

    def _tell(self, found: ReloadResult) -> None:
        version = self.renewal.text.version
        self.failed += bool(found.mistakes)
        for one in found.mistakes[:_TOLD]:
            text = f"{one.path}: {one.message}" if one.path else one.message
            text += f" {one.hint}" if one.hint else ""
            text += f" Version {version} stays in force."
            self._log("config", file=one.file or None, line=one.line, error=text)
        if found.kind == "taken":
            self.done += 1
            told = [str(one) for one in found.changes[:_TOLD]]
            left = len(found.changes) - len(told)
            told += [f"and {left} more"] if left else []
            text = "went back" if found.back else "in force"
            self._log("config", version=version, text=text, changes=told)
            if waits := self.renewal.waits():
                self._log("config", waits=waits, text="these wait until it is started anew")


def _wrong(renewal: ConfigWatcher) -> Json:
    if not renewal.mistakes:
        return None
    return {"at": round(renewal.wrong_since, 3), "mistakes": [str(one) for one in renewal.mistakes]}
