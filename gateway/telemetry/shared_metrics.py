"""Numbers by name and labels, in memory that the workers of one gateway share.

Each process adds to its own area, so an addition takes no lock and a tenth of a microsecond. The
worker that answers a scrape reads all areas.

No file holds the memory, and it outlives a process that is killed. The next process takes that area
over and continues its sums, so that sums never fall. The memory ends with the last process.
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

AREA_BYTES = 2 << 20
"""Bytes of an area, for some 8,000 label sets; unused pages take no memory."""
_RESERVE_BYTES = 64 << 10
"""Bytes for the cells that count for all label sets without a cell of their own."""
_WORD_BYTES = 8
_CELL_HEADER = struct.Struct("<II")  # of a cell: bytes of labels, count of numbers
OTHER_LABEL = "(other)"
"""The value of each label in a cell for label sets that found no room."""


class SharedMemory:
    """Memory of several processes: make it before the parent forks them.

    It has an area for each process, one for the parent, and as many again for successors that start
    before the others have ended.
    """

    def __init__(
        self, processes: int, size: int = AREA_BYTES, descriptor: int | None = None
    ) -> None:
        """Open the memory; `descriptor` is an existing one that other processes may still use."""
        self.size = size
        self.descriptor = _create_memory() if descriptor is None else descriptor
        existing_areas = os.fstat(self.descriptor).st_size // size
        self.areas = max(2 * (processes + 1), existing_areas)
        os.ftruncate(self.descriptor, self.areas * size)
        self._bytes = memoryview(mmap.mmap(self.descriptor, self.areas * size))
        self._owned_by_pid = (0, frozenset[int]())
        """The id of this process, and its areas: a forked process has none of its parent's."""

    def claim(self) -> int | None:
        """Claim an area that no live process has; return None if all are taken."""
        own_areas = self._find_own_areas()
        for area in range(self.areas):
            if area not in own_areas and self._try_lock(area):
                self._owned_by_pid = (os.getpid(), own_areas | {area})
                return area
        return None

    def view_area(self, area: int) -> memoryview:
        """Return the bytes of an area."""
        return self._bytes[area * self.size : (area + 1) * self.size]

    def is_alive(self, area: int) -> bool:
        """Return True if a process has this area."""
        if area in self._find_own_areas():  # the test below would get its own lock, and release it
            return True
        if not self._try_lock(area):
            return True
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, area)
        return False

    def _find_own_areas(self) -> frozenset[int]:
        pid, areas = self._owned_by_pid
        return areas if pid == os.getpid() else frozenset()

    def _try_lock(self, area: int) -> bool:
        """Try to lock an area.

        The kernel releases the lock when the process ends, however it ends.
        """
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, area)
        except OSError:
            return False
        return True


def _create_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tiergate-figures")
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - the path is a string
    return descriptor


class MetricCell(NamedTuple):
    """The numbers of one name and one label set, as one process has them."""

    name: str
    labels: Labels
    numbers: tuple[float, ...]
    is_alive: bool
    """True if that process runs: current values count only then."""


class MetricArea:
    """The area of this process, or private memory if it shares none.

    Callers write to `values` directly, at the positions that `find_offset` returns.
    """

    def __init__(self, memory: SharedMemory | None = None, size: int = AREA_BYTES) -> None:
        self._memory = memory
        self._area = memory.claim() if memory is not None else None
        if memory is not None and self._area is not None:
            self._view = memory.view_area(self._area)
        else:  # no area is free, so only this process can report its numbers
            self._view = memoryview(mmap.mmap(-1, size))
        self._size = len(self._view)
        self.values = self._view.cast("d")
        self._offsets: dict[tuple[str, Labels], int] = {}
        self._lock = threading.Lock()
        for offset, name, labels, _ in _iterate_cells(self._view):
            self._offsets[name, labels] = offset // _WORD_BYTES
        self._used_bytes = max(_read_used_bytes(self._view), _WORD_BYTES)

    def find_offset(self, name: str, labels: Labels, count: int) -> int:
        """Return where in `values` the `count` numbers of a name and labels are; new ones are 0."""
        offset = self._offsets.get((name, labels))
        if offset is None:
            with self._lock:
                offset = self._add_cell(name, labels, count)
        return offset

    def find_offsets(self, name: str, first_label: str) -> dict[Labels, int]:
        """Return the positions of a name with this first label, by the other labels."""
        with self._lock:
            return {
                labels[1:]: offset
                for (cell_name, labels), offset in self._offsets.items()
                if cell_name == name and labels[:1] == (first_label,) and len(labels) > 1
            }

    def _add_cell(self, name: str, labels: Labels, count: int) -> int:
        offset = self._offsets.get((name, labels))
        if offset is not None:
            return offset
        other_labels = (OTHER_LABEL,) * len(labels)
        label_bytes = jsonio.dumps([name, *labels])
        label_bytes += b" " * (-len(label_bytes) % _WORD_BYTES)
        end = self._used_bytes + _CELL_HEADER.size + len(label_bytes) + count * _WORD_BYTES
        if end > self._size - _RESERVE_BYTES and labels != other_labels:
            offset = self._offsets.get((name, other_labels))
            offset = self._add_cell(name, other_labels, count) if offset is None else offset
            self._offsets[name, labels] = offset  # clients cannot choose labels, so this is bounded
            return offset
        _CELL_HEADER.pack_into(self._view, self._used_bytes, len(label_bytes), count)
        start = self._used_bytes + _CELL_HEADER.size
        self._view[start : start + len(label_bytes)] = label_bytes
        offset = (start + len(label_bytes)) // _WORD_BYTES
        self._offsets[name, labels] = offset
        self._used_bytes = end
        # Write this last: from now on other processes read the cell.
        self._view[:_WORD_BYTES] = end.to_bytes(_WORD_BYTES, "little")
        return offset

    def read(self) -> Iterator[MetricCell]:
        """Yield all cells of all processes."""
        yield from _read_cells(self._view, is_alive=True)
        memory = self._memory
        if memory is None:
            return
        for area in range(memory.areas):
            view = memory.view_area(area)
            if area != self._area and _read_used_bytes(view):
                yield from _read_cells(view, is_alive=memory.is_alive(area))


def _read_used_bytes(view: memoryview) -> int:
    return int.from_bytes(view[:_WORD_BYTES], "little")


def _iterate_cells(view: memoryview) -> Iterator[tuple[int, str, Labels, int]]:
    """Yield the offset of the numbers, the name, the labels and the count of numbers."""
    offset, end = _WORD_BYTES, _read_used_bytes(view)
    while offset < end:
        length, count = _CELL_HEADER.unpack_from(view, offset)
        offset += _CELL_HEADER.size
        name, *labels = jsonio.loads(view[offset : offset + length])
        offset += length
        yield offset, name, tuple(labels), count
        offset += count * _WORD_BYTES


def _read_cells(view: memoryview, *, is_alive: bool) -> Iterator[MetricCell]:
    values = view.cast("d")
    for offset, name, labels, count in _iterate_cells(view):
        start = offset // _WORD_BYTES
        yield MetricCell(name, labels, tuple(values[start : start + count]), is_alive)
