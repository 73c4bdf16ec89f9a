"""The disks of all machines: they fail, fill up and tear, and a power cut takes what is not synced.

The gateway's modules of files get a `SimulatedDisk` in place of `os`. Files themselves are real,
in a folder of the simulation. Writes to segments of the journal and their syncs can fail. Nothing
is synced for real: the disk remembers how much of each segment is safe.
"""

import errno
import os
import random
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any
from unittest import mock

from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger import file_lock, ingest, journal, recovery
from gateway.ledger.journal import SEGMENT_SUFFIX, decode_row
from gateway.ledger.sinks import base
from gateway.limits import lease_book
from tests.simulation.network import find_machine, name_host

if TYPE_CHECKING:
    from tests.simulation.event_loop import SimulatedLoop

_MODULES: tuple[ModuleType, ...] = (journal, recovery, file_lock, ingest, base, lease_book)
"""The modules that write journals, locks and lease books."""
_SECTOR_BYTES = 512
_BOOT_ID_BYTES = 512
_ProcessNumbers = dict[str, int]


class SimulatedDisk:
    """All disks, with the functions of `os` for the machine that runs now."""

    def __init__(self, loop: "SimulatedLoop", seed: str) -> None:
        self.lost_intents: set[str] = set()
        """The markers of calls of which a power cut has taken an intent."""
        self.lost_rows: set[str] = set()
        """The markers of calls that a power cut has taken from a journal: intents, and refusals."""
        self.lost_finals: set[str] = set()
        """The ids of calls of which a power cut has taken the final row."""
        self.safe_lines: list[tuple[Path, bytes]] = []
        """Lines that were synced when the power was cut, each with its folder."""
        self.failures = 0
        """Writes, truncations and syncs that failed."""
        self._loop = loop
        self._chance = random.Random(f"{seed} disk")
        self._machines: dict[int, str] = {}
        """Which machine has opened a file, by descriptor."""
        self._segments: set[int] = set()
        """The descriptors of segments of journals, whose writes may fail."""
        self._synced_bytes: dict[int, int] = {}
        """Bytes of each segment that are safe, by inode."""
        self._failing: dict[str, float] = {}
        """The share of operations that fail, by host."""
        self._is_failing = False  # faults come together
        self._process_numbers: _ProcessNumbers = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @contextmanager
    def install(self) -> Generator[None]:
        """Let the gateway's modules use these disks."""
        with ExitStack() as stack:
            for module in _MODULES:
                stack.enter_context(mock.patch.object(module, "os", self))
            try:
                yield
            finally:
                for descriptor in list(self._machines):
                    with suppress(OSError):
                        os.close(descriptor)

    # faults

    def break_down(self, host: str, share: float) -> None:
        """Let a share of a host's writes, truncations and syncs fail; 0 ends it."""
        self._failing[host] = share

    def is_broken(self, host: str) -> bool:
        """True if a host's disk fails now."""
        return bool(self._failing.get(host))

    def kill(self, machine: str) -> None:
        """Release the files of a killed machine; the kernel has what was written."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor, owner in self._machines.items():
            if owner == machine:
                os.dup2(null, descriptor, inheritable=False)
                self._segments.discard(descriptor)
        os.close(null)

    def cut_power(self, folder: Path) -> None:
        """Keep what is synced of a killed machine, and of all else some sectors.

        `folder` is its data folder. Its lease books are those of an earlier boot afterwards.
        """
        for path in (folder / "ledger").glob(f"*{SEGMENT_SUFFIX}"):
            self._tear(path)
        for path in (folder / "leases").glob("*.leases"):
            with path.open("r+b") as file:
                file.write(b"another boot".ljust(_BOOT_ID_BYTES, b"\0"))

    def _tear(self, path: Path) -> None:
        data, chance = path.read_bytes(), self._chance
        synced = min(len(data), self._synced_bytes.get(path.stat().st_ino, 0))
        safe, rest = data[:synced], data[synced:]
        self.safe_lines += [(path.parent, line) for line in safe.splitlines()]
        safe_rows = [decode_row(line) for line in safe.splitlines()]
        safe_ids = {row.id for row in safe_rows if isinstance(row, IntentRow)}
        for line in rest.splitlines():
            match decode_row(line):
                case IntentRow(tags=tags):
                    self.lost_intents.update(tags)
                    self.lost_rows.update(tags)
                case FinalRow(id=id, tags=tags):
                    self.lost_finals.add(id)
                    if id not in safe_ids:
                        self.lost_rows.update(tags)
        rest = rest[: chance.randrange(len(rest) + 1)]
        sectors = [rest[at : at + _SECTOR_BYTES] for at in range(0, len(rest), _SECTOR_BYTES)]
        torn = [one if chance.random() < 0.5 else bytes(len(one)) for one in sectors]
        path.write_bytes(safe + b"".join(torn))
        self._synced_bytes[path.stat().st_ino] = len(safe) + len(rest)

    def _fails(self) -> bool:
        share = self._failing.get(name_host(find_machine()), 0.0)
        if not share:
            return False
        self._is_failing = self._chance.random() < (0.7 if self._is_failing else share)
        self.failures += self._is_failing
        return self._is_failing

    def _make_error(self) -> OSError:
        number = self._chance.choice((errno.EIO, errno.ENOSPC))
        return OSError(number, os.strerror(number))

    # the functions of `os`

    def getpid(self) -> int:
        """Return a number for the process that runs now."""
        numbers = self._process_numbers
        return numbers.setdefault(find_machine(), 1000 + len(numbers))

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        """Open a file, and remember whose it is."""
        descriptor = os.open(path, flags, mode)
        self._machines[descriptor] = find_machine()
        if str(path).endswith(SEGMENT_SUFFIX) or "probe-" in str(path):
            self._segments.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close a file of a machine that lives."""
        owner = self._machines.get(descriptor, "")
        if not self._loop.is_dead(owner):
            self._machines.pop(descriptor, None)
            self._segments.discard(descriptor)
            os.close(descriptor)

    def fdopen(self, descriptor: int, mode: str) -> IO[Any]:
        """Give a file away: Python closes it."""
        self._machines.pop(descriptor, None)
        return open(descriptor, mode)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write, or fail, or write a part."""
        self._loop.record(data)
        if descriptor in self._segments and self._fails():
            if self._chance.random() < 0.5:
                raise self._make_error()
            data = data[: self._chance.randint(0, len(data))]
        return os.write(descriptor, data)

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Truncate a file, or fail."""
        if descriptor in self._segments and self._fails():
            raise self._make_error()
        os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """Note that all of a file is safe, or fail."""
        if descriptor in self._segments:
            if self._fails():
                raise self._make_error()
            status = os.fstat(descriptor)
            self._synced_bytes[status.st_ino] = status.st_size

    fdatasync = fsync
