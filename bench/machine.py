"""Read and set what the benchmark needs of the machine: CPUs, CPU time, memory, tools."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

# Commands that install a tool, by package manager; the first manager on this machine counts.
INSTALL: dict[str, dict[str, str]] = {
    "nginx": {
        "apt-get": "apt-get install nginx",
        "dnf": "dnf install nginx",
        "apk": "apk add nginx",
        "pacman": "pacman -S nginx",
    },
    "haproxy": {
        "apt-get": "apt-get install haproxy",
        "dnf": "dnf install haproxy",
        "apk": "apk add haproxy",
        "pacman": "pacman -S haproxy",
    },
    "redis-server": {
        "apt-get": "apt-get install redis-server",
        "dnf": "dnf install valkey",
        "apk": "apk add redis",
        "pacman": "pacman -S valkey",
    },
    "node": {
        "apt-get": "apt-get install nodejs",
        "dnf": "dnf install nodejs",
        "apk": "apk add nodejs",
        "pacman": "pacman -S nodejs",
    },
    "npm": {
        "apt-get": "apt-get install npm",
        "dnf": "dnf install nodejs-npm",
        "apk": "apk add npm",
        "pacman": "pacman -S npm",
    },
    "python3.13": {
        "apt-get": "apt-get install python3.13-venv",
        "dnf": "dnf install python3.13",
        "apk": "apk add python3",
        "pacman": "pacman -S python",
    },
    "cc": {
        "apt-get": "apt-get install gcc libc6-dev",
        "dnf": "dnf install gcc glibc-devel",
        "apk": "apk add build-base",
        "pacman": "pacman -S gcc",
    },
}
# Debian keeps daemons in sbin, which is not on every user's PATH.
SBIN = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))


class Missing(Exception):
    """A tool is missing on this machine; the message names the command that installs it."""


class Cpu(msgspec.Struct, frozen=True):
    """CPU time of some processes, in seconds: `ran` on a CPU, `waited` ready but without one."""

    ran: float
    waited: float


class Machine(msgspec.Struct, frozen=True):
    """The machine of a run: `gateway_cpu` is for the measured peer, `load_cpu` for the rest.

    Both are the same on a machine with one CPU; `load_average` is of the minute before the run.
    """

    processor: str
    cpus: int
    gateway_cpu: int
    load_cpu: int
    kernel: str
    python: str
    load_average: float


def install(tool: str) -> str:
    """Return the command that installs a tool here; all known ones if no package manager is found."""
    for manager, command in INSTALL[tool].items():
        if _which(manager):
            return command
    return " or ".join(INSTALL[tool].values())


def find(tool: str) -> str:
    """Return the path of a tool; raise `Missing` with the command that installs it."""
    if path := _which(tool):
        return path
    raise Missing(f"{tool} is missing; install it with: {install(tool)}")


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), SBIN)))


def describe() -> Machine:
    """Describe this machine; take the first two CPUs that this process may use."""
    cpus = sorted(os.sched_getaffinity(0))
    named = (line for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    return Machine(
        processor=next(named, f": {platform.machine()}").partition(":")[2].strip(),
        cpus=len(cpus),
        gateway_cpu=cpus[0],
        load_cpu=cpus[min(1, len(cpus) - 1)],
        kernel=platform.release(),
        python=platform.python_version(),
        load_average=os.getloadavg()[0],
    )


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Keep this thread, and the processes that it starts meanwhile, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _text(entry / "stat")):
            # A line is: pid, command in brackets (it may contain some itself), state, parent.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:  # the list grows during the loop
        family.extend(children.get(member, ()))
    return family


def cpu_seconds(pids: list[int]) -> Cpu:
    """Return the CPU time so far of all threads of these processes, from
    /proc/PID/task/*/schedstat.

    schedstat counts nanoseconds; /proc/PID/stat counts ticks of 10 ms, too coarse for a second.
    """
    ran = waited = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            if fields := _text(thread).split():
                ran += int(fields[0])
                waited += int(fields[1])
    return Cpu(ran / 1e9, waited / 1e9)


def resident(pids: list[int]) -> int:
    """Return the resident memory of these processes in bytes; shared pages count for each process."""
    return sum(
        int(line.split()[1]) * 1024
        for pid in pids
        for line in _lines(f"/proc/{pid}/status")
        if line.startswith("VmRSS:")
    )


def _text(path: Path) -> str:
    """Return the file's text; an empty text if the process or thread has ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _lines(path: str) -> list[str]:
    return _text(Path(path)).splitlines()
