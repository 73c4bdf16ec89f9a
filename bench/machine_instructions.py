"""Count the machine instructions of a call: the same on a busy machine, and C code is counted too.

    python -m bench.machine_instructions [TREE] [--setup plain|full|shipped|cache] [--python]

It runs the gateway under callgrind, which needs valgrind, with 8 callers. It prints the
instructions of a call in the event loop's thread and in the others, and the C functions with most
of them. With `--python` it prints functions of Python instead, each with all that it calls; a tenth
of these instructions is the interpreter's own record of where it is. With TREE, another checkout
with a .venv of its own, it prints the functions of which this tree takes more. `bench.trace_call` counts the interpreter's instructions by file: it sees what Python
does, but not what an instruction costs. Names of C functions need a Python that is not stripped.
"""

import argparse
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import load, peers
from bench.measure import SCENES
from bench.peers import ROOT, SET_UPS, Place, Stage, Tiergate, Wrapped

CALLS = 1_000
CALLERS = 8
"""Callers at once: with more, a gateway that runs fifty times slower refuses some."""
WARM_CALLS = (200, 400, 600)
"""Calls before those that count; some may be refused while the interpreter still specializes."""
_REST_SECONDS = 2.0
_SHOWN_FUNCTIONS = 100
_ADDRESS_PATTERN = re.compile(r"0x[0-9a-f]{8,}")
_MAP_FOLDER = Path("/tmp")  # noqa: S108 - where the interpreter writes it
_NAME_PATTERN = re.compile(r"\((\d+)\)(?: (.*))?")
_RECURSION_PATTERN = re.compile(r"'\d+$")


class Counted(Wrapped):
    """A set-up of the gateway that runs under callgrind."""

    def __init__(self, peer: Tiergate, *, by_python: bool) -> None:
        """Take the set-up, and whether functions of Python are told apart."""
        super().__init__(peer)
        self._by_python = by_python

    def environment(self, place: Place) -> dict[str, str]:
        """Let the interpreter give each function of Python an address of its own, if asked to."""
        return {**super().environment(place), "PYTHONPERFSUPPORT": str(int(self._by_python))}

    def command(self, place: Place) -> list[str]:
        """Run the gateway's command under callgrind, with a file for each thread."""
        output = f"--callgrind-out-file={place.folder / 'counts'}"
        callgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes", output]
        return [*callgrind, *self.peer.command(place)]


class FunctionMap:
    """The names of Python's functions by address, as the interpreter writes them for perf.

    Source: docs.python.org/3/howto/perf_profiling.html.
    """

    def __init__(self, lines: Iterable[str], tree: Path) -> None:
        """Read the lines of the file: an address, a size, and a name with a path, in `tree` mostly."""
        rows = [line.removesuffix("\n").split(" ", 2) for line in lines]
        self._ranges = sorted(
            (
                int(start, 16),
                int(start, 16) + int(size, 16),
                name.removeprefix("py::").replace(f"{tree}/", ""),
            )
            for start, size, name in rows
        )

    def find(self, name: str) -> str | None:
        """Return Python's name of a function that callgrind names by its address."""
        match = _ADDRESS_PATTERN.match(name)
        if match is None:
            return None
        address = int(match[0], 16)
        index = bisect_right(self._ranges, (address, math.inf)) - 1
        if index >= 0 and address < self._ranges[index][1]:
            return self._ranges[index][2]
        return None


def parse(lines: Iterable[str], functions: FunctionMap | None = None) -> Counter[str]:
    """Return the instructions of each function in one file of callgrind, without those it calls.

    With `functions` return those of Python's functions, with all that they call.
    Source: valgrind.org/docs/manual/cl-format.html.
    """
    counts, names = Counter[str](), dict[str, str]()
    function, called, is_call = "", "", False
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and key in ("fn", "cfn"):
            match = _NAME_PATTERN.fullmatch(value)
            number, name = match.groups() if match is not None else (value, value)
            name = names.setdefault(number, name or number)
            if key == "fn":
                function = _RECURSION_PATTERN.sub("", name)
            else:
                called = name
        elif equals and key == "calls":
            is_call = True  # the next line counts what the called function takes
        elif line[:1] in "0123456789+-*" and line:
            if len(fields := line.split()) > 1:
                if functions is None and not is_call:
                    counts[function] += int(fields[1])
                elif functions is not None and is_call and (name := functions.find(called)):
                    counts[name] += int(fields[1])
            is_call = False
    return counts


class Counts(NamedTuple):
    """The instructions of a call of one tree."""

    functions: Counter[str]
    """Those of the functions in the event loop's thread."""
    loop: int
    """All those in the event loop's thread."""
    others: int
    """All those in other threads."""


def count(setup: str, tree: Path, stage: Stage, *, by_python: bool) -> Counts:
    """Count a call of a tree.

    Raises `Unstarted` and `Broken` as the bench does.
    """
    scene = next(scene for scene in SCENES if scene.name == "plain")
    with ExitStack() as ends:
        folder = Path(tempfile.mkdtemp(dir=stage.folder))
        running, _ = peers.start(
            Counted(peers.set_up(setup, ends, tree), by_python=by_python),
            folder,
            stage.instruments,
            cpu=stage.here.gateway_cpu,
            upstream=stage.mock.port,
        )
        ends.enter_context(running)
        load.control(stage.mock.port, scene.setting)

        def run(calls: int) -> None:
            load.run(
                stage.instruments,
                running.port,
                ask=running.ask,
                size=scene.size,
                connections=CALLERS,
                seconds=peers.START_SECONDS,
                most=calls,
            )

        for calls in WARM_CALLS:
            try:
                run(calls)
            except load.Broken as error:
                sys.stderr.write(f"while it warms: {error}\n")
            time.sleep(_REST_SECONDS)
        _control("--zero", running)
        run(CALLS)
        _control("--dump", running)
        file_counts = [parse(_read(file)) for file in sorted(folder.glob("counts.1-*"))]
        counts = file_counts[0]
        if by_python:
            map_file = _MAP_FOLDER / f"perf-{running.pids()[0]}.map"
            ends.callback(map_file.unlink, missing_ok=True)
            counts = parse(_read(folder / "counts.1-01"), FunctionMap(_read(map_file), tree))
    loop, *others = [one.total() // CALLS for one in file_counts]
    counts = Counter({name: number // CALLS for name, number in counts.items()})
    return Counts(counts, loop, sum(others))


def _read(file: Path) -> list[str]:
    return file.read_text("utf-8", "replace").splitlines()


def _control(order: str, running: peers.Running) -> None:
    command = ["callgrind_control", order, str(running.pids()[0])]
    subprocess.run(command, check=True, capture_output=True)


def render(results: Mapping[str, Counts]) -> str:
    """Format the counts of one tree, or of two with what this one takes more."""
    this, *rest = [counts.functions for counts in results.values()]
    other = rest[0] if rest else Counter[str]()
    lines = [
        f"{name}: {counts.loop:,} instructions a call in the loop's thread, {counts.others:,} in others"
        for name, counts in results.items()
    ]
    names = sorted({*this, *other}, key=lambda name: other[name] - this[name])
    for name in names[:_SHOWN_FUNCTIONS]:
        numbers = f"{this[name]:>9,}" + (f" {other[name]:>9,}" if rest else "")
        lines.append(f"{numbers}  {name}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Count and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.machine_instructions")
    parser.add_argument("tree", nargs="?", type=Path)
    parser.add_argument("--setup", choices=SET_UPS, default="plain")
    parser.add_argument("--python", action="store_true", help="count functions of Python")
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        raise SystemExit("machine_instructions: install valgrind")
    trees = {"this tree": ROOT} | ({"the other": options.tree.resolve()} if options.tree else {})
    with peers.stage() as stage:
        results = {
            name: count(options.setup, tree, stage, by_python=options.python)
            for name, tree in trees.items()
        }
    sys.stdout.write(render(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
