"""Memory and files of the process, as Linux reports them, and nothing without a source."""

import contextlib
import gc
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.telemetry import process
from gateway.telemetry.process import ControlGroup, MemoryReach

MB = 1 << 20


def write_file(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_memory_and_open_files_of_this_process_are_known() -> None:
    resident = process.read_resident_bytes()
    assert resident is not None
    assert MB < resident < (process.read_physical_bytes() or 0)
    before = process.count_open_files()
    with Path(os.devnull).open() as _, Path(os.devnull).open() as _:
        assert (process.count_open_files() or 0) == (before or 0) + 2
    process.trim()


def test_open_files_are_counted_without_help_of_the_kernel(tmp_path: Path) -> None:
    for name in ("0", "1", "2"):
        write_file(tmp_path, f"proc/self/fd/{name}", "")
    assert (process.count_open_files(tmp_path) or 0) >= 3


def test_without_a_source_the_figures_are_unknown(tmp_path: Path) -> None:
    assert process.read_resident_bytes(tmp_path) is None
    assert process.count_open_files(tmp_path) is None
    assert ControlGroup(tmp_path).find_tightest_reach() is None
    write_file(tmp_path, "proc/self/statm", "")
    assert process.read_resident_bytes(tmp_path) is None


def test_resident_memory_is_read_in_pages(tmp_path: Path) -> None:
    write_file(tmp_path, "proc/self/statm", "900 100 5 1 0 1 0\n")
    assert process.read_resident_bytes(tmp_path) == 100 * os.sysconf("SC_PAGE_SIZE")


def test_the_file_limit_is_raised_as_far_as_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits_set: list[tuple[int, int]] = []
    limits = (256, 4096)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits_set.append(new))
    assert process.raise_file_limit() == 4096
    limits = (256, resource.RLIM_INFINITY)
    assert process.raise_file_limit() == 65_536
    limits = (256, 256)
    assert process.raise_file_limit() == 256
    limits = (100_000, 200_000)
    assert process.raise_file_limit() == 100_000
    assert limits_set == [(4096, 4096), (65_536, resource.RLIM_INFINITY)]
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert process.raise_file_limit() is None

    def refuse(_: int, new: tuple[int, int]) -> None:
        raise ValueError(new)

    limits = (256, 4096)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert process.raise_file_limit() == 256


def test_the_nearest_memory_limit_of_cgroup_v2_counts(tmp_path: Path) -> None:
    """The nearest limit on the way up counts; inactive file pages are not counted as used."""
    write_file(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write_file(tmp_path, "sys/fs/cgroup/a/b/memory.max", "max\n")
    write_file(tmp_path, "sys/fs/cgroup/a/memory.max", f"{100 * MB}\n")
    write_file(tmp_path, "sys/fs/cgroup/a/memory.current", f"{60 * MB}\n")
    write_file(tmp_path, "sys/fs/cgroup/a/memory.stat", f"anon 1\ninactive_file {20 * MB}\nx 2\n")
    group = ControlGroup(tmp_path)
    assert group.find_tightest_reach() == MemoryReach(40 * MB, 100 * MB)
    write_file(tmp_path, "sys/fs/cgroup/a/memory.current", f"{90 * MB}\n")
    assert group.find_tightest_reach() == MemoryReach(70 * MB, 100 * MB)


def test_a_memory_limit_of_cgroup_v1_counts(tmp_path: Path) -> None:
    """In a container the path may be the host's: then the mounted group counts."""
    write_file(tmp_path, "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n")
    write_file(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{50 * MB}\n")
    write_file(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{10 * MB}\n")
    assert ControlGroup(tmp_path).find_tightest_reach() == MemoryReach(10 * MB, 50 * MB)
    write_file(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert ControlGroup(tmp_path).find_tightest_reach() is None


def test_of_several_memory_limits_the_tightest_counts(tmp_path: Path) -> None:
    write_file(tmp_path, "proc/self/cgroup", "0::/a\n")
    for path, used, limit in (("", 80, 100), ("a/", 10, 40)):
        write_file(tmp_path, f"sys/fs/cgroup/{path}memory.max", f"{limit}")
        write_file(tmp_path, f"sys/fs/cgroup/{path}memory.current", f"{used}")
        write_file(tmp_path, f"sys/fs/cgroup/{path}memory.stat", "inactive_file x\n")
    assert ControlGroup(tmp_path).find_tightest_reach() == MemoryReach(80, 100)


def test_a_cgroup_that_disappears_limits_nothing(tmp_path: Path) -> None:
    write_file(tmp_path, "proc/self/cgroup", "0::/\n")
    write_file(tmp_path, "sys/fs/cgroup/memory.max", "100")
    group = ControlGroup(tmp_path)
    assert group.find_tightest_reach() is None


def test_the_garbage_collector_is_paused_and_restored() -> None:
    """The search is restored afterwards, also if it was off before."""
    with process.pause_cycle_search(), process.pause_cycle_search():
        assert not gc.isenabled()
    assert gc.isenabled()
    with contextlib.suppress(KeyError), process.pause_cycle_search():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with process.pause_cycle_search():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


_THREADS = """
import sys, threading
from pathlib import Path
from gateway.telemetry import process
if sys.argv[1] == "together":
    process.use_single_heap()
kept = []
thread = threading.Thread(target=lambda: kept.extend(bytes(2000) for _ in range(1000)))
thread.start()
thread.join()
places = [line.split()[:2] for line in Path("/proc/self/maps").read_text().splitlines()]
spans = [[int(end, 16) for end in place.split("-")] for place, way in places if way == "---p"]
print(sum(end - start > 32_000_000 for start, end in spans))
"""


@pytest.mark.parametrize(("mode", "heaps"), [("together", 0), ("apart", 1)])
def test_threads_take_memory_from_one_heap(mode: str, heaps: int) -> None:
    """The C library reserves 64 MB for each heap of its own."""
    command = [sys.executable, "-c", _THREADS, mode]
    root = Path(__file__).parents[2]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert int(process.stdout) == heaps
