"""The memory and the open files of this process, and their limits.

The figures come from /proc and the control groups of Linux; None if there is nothing to read. One
read takes some tens of microseconds.
"""

import ctypes
import functools
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_NO_LIMIT = 1 << 60
"""The value from which a limit of cgroup v1 means none: it writes the largest number of pages."""
_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""
_MAX_USEFUL_FILES = 65_536
"""More open files than any gateway needs."""


class MemoryReach(NamedTuple):
    """Bytes of memory in use, and the limit."""

    used_bytes: int
    limit_bytes: int


def read_resident_bytes(root: Path = _ROOT) -> int | None:
    """Return the bytes of memory of this process."""
    try:
        pages = (root / "proc/self/statm").read_bytes().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def read_physical_bytes() -> int | None:
    """Return the bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def count_open_files(root: Path = _ROOT) -> int | None:
    """Return the number of open files, sockets included."""
    folder = root / "proc/self/fd"
    try:
        # Since 6.2 Linux reports the number as the size; before that the size is 0, so count them.
        return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - only names are needed
    except OSError:
        return None


def raise_file_limit() -> int | None:
    """Raise the limit of open files to what the machine allows, and return the limit.

    A limit is raised to `_MAX_USEFUL_FILES` at most. None if there is no limit, or if the system
    has no such limits.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has no such module
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else _MAX_USEFUL_FILES
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < min(limit, _MAX_USEFUL_FILES):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, _MAX_USEFUL_FILES), hard))
            return min(limit, _MAX_USEFUL_FILES)
        except (OSError, ValueError):  # macOS has a lower limit of its own
            return soft
    return soft


@functools.cache
def _load_c_library() -> ctypes.CDLL:
    """Load the C library of this process once, so that nothing is loaded while it serves."""
    return ctypes.CDLL(None)


def trim() -> None:
    """Return unused memory to the system: the C library of Linux keeps freed memory."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        _load_c_library().malloc_trim(0)


def use_single_heap() -> None:
    """Make all threads use one heap: each heap of glibc keeps the memory that it once had.

    Call it before there are other threads. A gateway has one thread that allocates much, and few
    that seldom do.
    """
    with suppress(OSError, AttributeError, TypeError):
        _load_c_library().mallopt(_ARENA_MAX, 1)


@contextmanager
def pause_cycle_search() -> Iterator[None]:
    """Pause the search for cycles among objects, which would stop all threads.

    Use it for work that makes many objects and leaves few behind: a later search covers them all at
    once.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class ControlGroup:
    """The control groups of this process, its own and the enclosing ones, that limit memory."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._limited_groups = tuple(_find_limited_groups(root))

    def find_tightest_reach(self) -> MemoryReach | None:
        """Return the group with the least memory left; None if no group has a limit.

        Used memory is what the system could not reclaim at once, so file pages that nobody reads do
        not count.
        """
        reaches = [
            reach for group in self._limited_groups if (reach := _read_reach(*group)) is not None
        ]
        return min(
            reaches,
            key=lambda candidate: candidate.limit_bytes - candidate.used_bytes,
            default=None,
        )


def _find_limited_groups(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Yield the folder of each group with a limit, and the names of its files and its statistic."""
    for folder, *names in _find_groups(root):
        limit_name, used_name, spare_name = names
        if _read_limit(folder / limit_name) is not None:
            yield folder, limit_name, used_name, spare_name


def _find_groups(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    mount_path = root / "sys/fs/cgroup"
    for line in lines:
        hierarchy, _, remainder = line.partition(":")
        controllers, _, path = remainder.partition(":")
        if hierarchy == "0" and not controllers:
            base, names = mount_path, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = mount_path / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be the host's, but the container's own group is mounted.
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth]), *names


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text("ascii").strip()
        return int(text) if text != "max" and int(text) < _NO_LIMIT else None
    except (OSError, ValueError):
        return None


def _read_reach(
    folder: Path, limit_name: str, used_name: str, spare_name: str
) -> MemoryReach | None:
    limit_bytes, used_bytes = _read_limit(folder / limit_name), _read_limit(folder / used_name)
    if limit_bytes is None or used_bytes is None:
        return None
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
        spare_line = next((line for line in lines if line.startswith(f"{spare_name} ")), " 0")
        spare_bytes = int(spare_line.rpartition(" ")[2])
    except (OSError, ValueError):
        spare_bytes = 0
    return MemoryReach(max(used_bytes - spare_bytes, 0), limit_bytes)
