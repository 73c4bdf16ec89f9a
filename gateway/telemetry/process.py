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
_ENOUGH = 65_536
"""Files that nobody needs more of."""


class MemoryReach(NamedTuple):
    """Bytes that are used and that may be."""

    used: int
    most: int


def resident(root: Path = _ROOT) -> int | None:
    """Bytes of memory of this process."""
    try:
        pages = (root / "proc/self/statm").read_bytes().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def physical() -> int | None:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def files(root: Path = _ROOT) -> int | None:
    """Files that are open, sockets among them."""
    folder = root / "proc/self/fd"
    try:
        # Linux tells how many since 6.2; before that it is 0, and they are counted.
        return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - names are enough
    except OSError:
        return None


def most_files() -> int | None:
    """How many may be open, raised to what the machine allows this process."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else _ENOUGH
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < min(most, _ENOUGH):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _ENOUGH), hard))
            return min(most, _ENOUGH)
        except (OSError, ValueError):  # macOS has a lower limit of its own
            return soft
    return soft


@functools.cache
def _c() -> ctypes.CDLL:
    """The C library of this process, looked for once: nothing is loaded while it serves."""
    return ctypes.CDLL(None)


def trim() -> None:
    """Give memory back that was used and is not: the C library of Linux keeps what was freed."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        _c().malloc_trim(0)


def together() -> None:
    """Have all threads take memory from one heap: each of glibc's own keeps what it once had.

    Before there are any. Who serves has one thread that allocates much, and few that seldom do.
    """
    with suppress(OSError, AttributeError, TypeError):
        _c().mallopt(_ARENA_MAX, 1)


@contextmanager
def quietly() -> Iterator[None]:
    """Make many objects without a search for cycles among them, which would stop all threads.

    For what leaves few behind: it is all searched at once afterwards.
    """
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


class ControlGroup:
    """The control group of this process, and those that it is part of, as far as they limit it."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._places = tuple(_places(root))

    def reach(self) -> MemoryReach | None:
        """The one that has the least left; None where nothing limits it.

        What is used is what could not be given back at once: pages of files that nobody reads are
        not in it.
        """
        found = [reach for place in self._places if (reach := _reach(*place)) is not None]
        return min(found, key=lambda one: one.most - one.used, default=None)


def _places(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Folders of groups that have a limit now, with the names of what they say."""
    for folder, *names in _folders(root):
        limit, used, spare = names
        if _limit(folder / limit) is not None:
            yield folder, limit, used, spare


def _folders(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            base, names = mounted, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = mounted / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be the host's, while its own group is what is mounted.
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth]), *names


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text("ascii").strip()
        return int(text) if text != "max" and int(text) < _NO_LIMIT else None
    except (OSError, ValueError):
        return None


def _reach(folder: Path, limit: str, used: str, spare: str) -> MemoryReach | None:
    most, now = _limit(folder / limit), _limit(folder / used)
    if most is None or now is None:
        return None
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
        told = next((line for line in lines if line.startswith(f"{spare} ")), " 0")
        idle = int(told.rpartition(" ")[2])
    except (OSError, ValueError):
        idle = 0
    return MemoryReach(max(now - idle, 0), most)
