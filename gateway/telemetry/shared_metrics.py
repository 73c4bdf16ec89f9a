"""Figures: numbers by name and labels, in memory that the workers of one gateway share.

Each process adds to an area of its own, so adding takes no lock and costs a tenth of a
microsecond; whoever is asked reads all areas. The memory is of no file and outlives a process that
is killed: its successor takes the area over and goes on from where that one was, so that sums never
fall. It ends with the last process.
"""

import fcntl
import mmap
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from typing import NamedTuple

from gateway.core import jsonio

type Labels = tuple[str, ...]

SIZE = 2 << 20
"""Bytes of an area, of which what is never used is never taken: some 8,000 label sets."""
_RESERVE = 64 << 10
"""Bytes for the sets that stand for all those that found no room."""
_WORD = 8
_HEAD = struct.Struct("<II")  # of a cell: bytes of its labels, how many numbers it has
OTHER = "(other)"
"""Each label of what found no room."""


class SharedMemory:
    """Memory of several processes: make it before they are forked.

    There is an area for each of them, for the one that forks them, and for as many that follow
    before the others have ended.
    """

    def __init__(self, processes: int, size: int = SIZE, descriptor: int | None = None) -> None:
        """`descriptor` is of a memory that other processes may still count in."""
        self.size = size
        self.descriptor = _anonymous() if descriptor is None else descriptor
        known = os.fstat(self.descriptor).st_size // size
        self.areas = max(2 * (processes + 1), known)
        os.ftruncate(self.descriptor, self.areas * size)
        self._bytes = memoryview(mmap.mmap(self.descriptor, self.areas * size))
        self._own = (0, frozenset[int]())
        """This process, and the areas that it has: a fork has none of its parent's."""

    def claim(self) -> int | None:
        """An area that no living process has; None where all are taken."""
        own = self._mine()
        for area in range(self.areas):
            if area not in own and self._lock(area):
                self._own = (os.getpid(), own | {area})
                return area
        return None

    def area(self, number: int) -> memoryview:
        """The bytes of an area."""
        return self._bytes[number * self.size : (number + 1) * self.size]

    def lives(self, area: int) -> bool:
        """Whether a process has an area."""
        if area in self._mine():  # a lock of one's own is no lock, and would be let go
            return True
        if not self._lock(area):
            return True
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, area)
        return False

    def _mine(self) -> frozenset[int]:
        pid, own = self._own
        return own if pid == os.getpid() else frozenset()

    def _lock(self, area: int) -> bool:
        """The kernel lets it go when the process ends, however it ends."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, area)
        except OSError:
            return False
        return True


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tiergate-figures")
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - a path that is a string
    return descriptor


class MetricCell(NamedTuple):
    """The numbers of one name and one set of labels, as one process has them."""

    name: str
    labels: Labels
    numbers: tuple[float, ...]
    lives: bool
    """Whether that process runs: what is of the moment counts only then."""


class MetricArea:
    """The area of this process; some memory of its own where it shares none.

    `values` is written to directly, at the places that `at` gives.
    """

    def __init__(self, memory: SharedMemory | None = None, size: int = SIZE) -> None:
        self._memory = memory
        self._area = memory.claim() if memory is not None else None
        if memory is not None and self._area is not None:
            self._view = memory.area(self._area)
        else:  # where no area is free only this process can tell what it counts
            self._view = memoryview(mmap.mmap(-1, size))
        self._size = len(self._view)
        self.values = self._view.cast("d")
        self._places: dict[tuple[str, Labels], int] = {}
        self._lock = threading.Lock()
        for offset, name, labels, _ in _cells(self._view):
            self._places[name, labels] = offset // _WORD
        self._used = max(_used(self._view), _WORD)

    def at(self, name: str, labels: Labels, count: int) -> int:
        """Where in `values` the `count` numbers of a name and its labels stand, new ones as 0."""
        found = self._places.get((name, labels))
        if found is None:
            with self._lock:
                found = self._add(name, labels, count)
        return found

    def known(self, name: str, first: str) -> dict[Labels, int]:
        """The places of a name whose first label is this, by the other labels."""
        with self._lock:
            return {
                labels[1:]: place
                for (one, labels), place in self._places.items()
                if one == name and labels[:1] == (first,) and len(labels) > 1
            }

    def _add(self, name: str, labels: Labels, count: int) -> int:
        found = self._places.get((name, labels))
        if found is not None:
            return found
        other = (OTHER,) * len(labels)
        text = jsonio.dumps([name, *labels])
        text += b" " * (-len(text) % _WORD)
        end = self._used + _HEAD.size + len(text) + count * _WORD
        if end > self._size - _RESERVE and labels != other:
            found = self._places.get((name, other))
            found = self._add(name, other, count) if found is None else found
            self._places[name, labels] = found  # bounded by what clients cannot choose
            return found
        _HEAD.pack_into(self._view, self._used, len(text), count)
        begin = self._used + _HEAD.size
        self._view[begin : begin + len(text)] = text
        found = (begin + len(text)) // _WORD
        self._places[name, labels] = found
        self._used = end
        self._view[:_WORD] = end.to_bytes(_WORD, "little")  # last: from now on others read it
        return found

    def read(self) -> Iterator[MetricCell]:
        """All cells of all processes."""
        yield from _read(self._view, lives=True)
        memory = self._memory
        if memory is None:
            return
        for area in range(memory.areas):
            view = memory.area(area)
            if area != self._area and _used(view):
                yield from _read(view, lives=memory.lives(area))


def _used(view: memoryview) -> int:
    return int.from_bytes(view[:_WORD], "little")


def _cells(view: memoryview) -> Iterator[tuple[int, str, Labels, int]]:
    """Offset of the numbers, name, labels and how many numbers."""
    offset, end = _WORD, _used(view)
    while offset < end:
        length, count = _HEAD.unpack_from(view, offset)
        offset += _HEAD.size
        name, *labels = jsonio.loads(view[offset : offset + length])
        offset += length
        yield offset, name, tuple(labels), count
        offset += count * _WORD


def _read(view: memoryview, *, lives: bool) -> Iterator[MetricCell]:
    values = view.cast("d")
    for offset, name, labels, count in _cells(view):
        first = offset // _WORD
        yield MetricCell(name, labels, tuple(values[first : first + count]), lives)
