"""What this process has of the machine, and how much it may have: memory and open files.

Read from /proc and the control groups of Linux; None where there is nothing to read. A look takes
some tens of microseconds.
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
"""From here on a limit of cgroup v1 is none: it writes the largest number of pages."""
_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""
_MAX_USEFUL_FILES = 65_536
"""Files that nobody needs more of."""


class MemoryReach(NamedTuple):
    """Bytes that are used and that may be."""

    used_bytes: int
    limit_bytes: int


def read_resident_bytes(root: Path = _ROOT) -> int | None:
    """Bytes of memory of this process."""
    try:
        pages = (root / "proc/self/statm").read_bytes().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def read_physical_bytes() -> int | None:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def count_open_files(root: Path = _ROOT) -> int | None:
    """Files that are open, sockets among them."""
    folder = root / "proc/self/fd"
    try:
        # Linux tells how many since 6.2; before that it is 0, and they are counted.
        return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - names are enough
    except OSError:
        return None


def raise_file_limit() -> int | None:
    """How many may be open, raised to what the machine allows this process."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
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
    """The C library of this process, looked for once: nothing is loaded while it serves."""
    return ctypes.CDLL(None)


def trim() -> None:
    """Give memory back that was used and is not: the C library of Linux keeps what was freed."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        _load_c_library().malloc_trim(0)


def use_single_heap() -> None:
    """Have all threads take memory from one heap: each of glibc's own keeps what it once had.

    Before there are any. Who serves has one thread that allocates much, and few that seldom do.
    """
    with suppress(OSError, AttributeError, TypeError):
        _load_c_library().mallopt(_ARENA_MAX, 1)


@contextmanager
def pause_cycle_search() -> Iterator[None]:
    """Make many objects without a search for cycles among them, which would stop all threads.

    For what leaves few behind: it is all searched at once afterwards.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class ControlGroup:
    """The control group of this process, and those that it is part of, as far as they limit it."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._limited_groups = tuple(_find_limited_groups(root))

    def find_tightest_reach(self) -> MemoryReach | None:
        """The one that has the least left; None where nothing limits it.

        What is used is what could not be given back at once: pages of files that nobody reads are
        not in it.
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
    """Folders of groups that have a limit now, with the names of what they say."""
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
        # In a container the path may be the host's, while its own group is what is mounted.
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
