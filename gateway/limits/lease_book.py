"""The lease book: what this process has drawn from its leases, in a file that outlives its death.

Recovery reads the book of a dead process, and returns what the process had not drawn. A write costs
some microseconds, so a lease claims a part of its slice ahead: what it has claimed counts as drawn.

A killed process loses no write, since the kernel has it. A machine that fails may lose some, so the
book names the boot of the machine. In another boot recovery returns nothing.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.limits.counters import Owner

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_SUFFIX = ".leases"
_FILE_MODE = 0o600
_NO_FILE = -1
_RECORD_BYTES = 512
"""Bytes of a record. It lies within one page, so that a kill never leaves a part of it."""
_HEADER = struct.Struct("<QH")  # of a record: micro-USD claimed, bytes of the lease's names
_CLAIM = struct.Struct("<Q")
_encode = msgspec.msgpack.Encoder().encode
_decode_names = msgspec.msgpack.Decoder(tuple[str | None, str]).decode


class DeadLease(NamedTuple):
    """A lease of a process that has ended."""

    owner: Owner
    id: str
    claimed: int
    """Micro-USD: the most that calls have drawn from it."""


class LeaseBook:
    """The book of this process. It makes its file at the first lease."""

    def __init__(self, folder: Path, gateway: str, boot_id_file: Path = _BOOT_ID_FILE) -> None:
        """Take `gateway`, a name that no other process has."""
        self._path = folder / f"{gateway}{_SUFFIX}"
        self._boot_id_file = boot_id_file
        self._descriptor = _NO_FILE
        self._free_records: list[int] = []
        self._record_count = self._open_count = 0

    def begin(self, owner: Owner, lease_id: str) -> int | None:
        """Note a lease before its request; return its record, or None if the file takes none."""
        names = _encode((owner, lease_id))
        if len(names) > _RECORD_BYTES - _HEADER.size:
            return None
        try:
            if self._descriptor == _NO_FILE:
                self._descriptor = self._create()
            record = self._free_records.pop() if self._free_records else self._record_count + 1
            data = _HEADER.pack(0, len(names)) + names
            os.pwrite(self._descriptor, data, record * _RECORD_BYTES)
        except OSError:
            return None
        self._record_count = max(self._record_count, record)
        self._open_count += 1
        return record

    def claim(self, record: int, amount: int) -> None:
        """Note that calls may draw up to an amount of a lease in all. Raises OSError."""
        os.pwrite(self._descriptor, _CLAIM.pack(amount), record * _RECORD_BYTES)

    def end(self, record: int) -> None:
        """Note that a lease was returned."""
        self._open_count -= 1
        with suppress(OSError):  # recovery finds that Redis knows the lease no longer
            os.pwrite(self._descriptor, bytes(_HEADER.size), record * _RECORD_BYTES)
            self._free_records.append(record)

    def close(self) -> None:
        """Close the file, and remove it unless a lease was not returned."""
        if self._descriptor != _NO_FILE:
            if not self._open_count:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = _NO_FILE

    def _create(self) -> int:
        """Create the file. Recovery sees it once it is locked and has its header."""
        boot_id = self._boot_id_file.read_bytes()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new_path = self._path.with_suffix(".new")
        descriptor = os.open(new_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(descriptor, boot_id, 0)
            new_path.rename(self._path)
        except OSError:
            os.close(descriptor)
            new_path.unlink()
            raise
        return descriptor


def list_dead_books(folder: Path) -> list[Path]:
    """Return the books in a folder that may be of dead processes."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


@contextmanager
def lock_dead_book(path: Path, boot_id_file: Path = _BOOT_ID_FILE) -> Iterator[list[DeadLease]]:
    """Yield the leases of a dead process. Remove its book if the block has removed all of them.

    Yield none if the process lives, or if the machine was started anew since.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:  # another process has removed it
        yield []
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield []
        return
    try:
        leases = list(_read_leases(path, boot_id_file))
        yield leases
        if not leases:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _read_leases(path: Path, boot_id_file: Path) -> Iterator[DeadLease]:
    try:
        data, boot_id = path.read_bytes(), boot_id_file.read_bytes()
    except OSError:
        return
    if data[:_RECORD_BYTES].rstrip(b"\0") != boot_id:
        return
    for start in range(_RECORD_BYTES, len(data), _RECORD_BYTES):
        claimed, size = _HEADER.unpack_from(data, start)
        if size:
            names = data[start + _HEADER.size : start + _HEADER.size + size]
            yield DeadLease(*_decode_names(names), claimed)
