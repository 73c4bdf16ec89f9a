"""The configuration as its files change: what holds, what held before, and what is wrong with it.

Nothing waits here and nothing runs: a gateway asks again and again, and so does the supervisor of
several, so that a worker that is born later begins with what the others have.
"""

import mmap
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from gateway.runtime.build import BuiltConfig
from gateway.settings.diff import ConfigChange, changes, lasting, switched
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import ConfigSource
from gateway.telemetry import process
from gateway.telemetry.log import where

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
