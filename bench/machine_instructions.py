"""Count the machine instructions of a call: the same on a busy machine, and C code is counted too.

    python -m bench.machine_instructions [TREE] [--setup plain|full|shipped|cache]

It runs the gateway under callgrind, which needs valgrind, with 8 callers. It prints the
instructions of a call in the event loop's thread and in the others, and the C functions with most
of them. With TREE, another checkout with a .venv of its own, it prints both trees' and the
difference. `bench.trace_call` counts the interpreter's instructions by file: it sees what Python
does, but not what an instruction costs. Names of C functions need a Python that is not stripped.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import load, peers
from bench.measure import SCENES
from bench.peers import ROOT, SET_UPS, Place, Stage, Wrapped

CALLS = 1_000
CALLERS = 8
"""Callers at once: with more, a gateway that runs fifty times slower refuses some."""
WARM_CALLS = (200, 400, 600)
"""Calls before those that count; some may be refused while the interpreter still specializes."""
_REST_SECONDS = 2.0
_SHOWN_FUNCTIONS = 30
_NAME_PATTERN = re.compile(r"\((\d+)\)(?: (.*))?")
_RECURSION_PATTERN = re.compile(r"'\d+$")


class Counted(Wrapped):
    """A set-up of the gateway that runs under callgrind."""

    def command(self, place: Place) -> list[str]:
        """Run the gateway's command under callgrind, with a file for each thread."""
        output = f"--callgrind-out-file={place.folder / 'counts'}"
        callgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes", output]
        return [*callgrind, *self.peer.command(place)]


def parse(lines: Iterable[str]) -> Counter[str]:
    """Return the instructions of each function in one file of callgrind, without those it calls.

    Source: valgrind.org/docs/manual/cl-format.html.
    """
    counts, names = Counter[str](), dict[str, str]()
    function, is_call = "", False
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and key in ("fn", "cfn"):
            match = _NAME_PATTERN.fullmatch(value)
            number, name = match.groups() if match is not None else (value, value)
            name = names.setdefault(number, name or number)
            if key == "fn":
                function = _RECURSION_PATTERN.sub("", name)
        elif equals and key == "calls":
            is_call = True  # the next line counts what the called function takes
        elif line[:1] in "0123456789+-*" and line:
            if not is_call and len(fields := line.split()) > 1:
                counts[function] += int(fields[1])
            is_call = False
    return counts


def count(setup: str, tree: Path, stage: Stage) -> tuple[Counter[str], int]:
    """Count a call of a tree: by function in the loop's thread, and as a sum in the others.

    Raises `Unstarted` and `Broken` as the bench does.
    """
    scene = next(scene for scene in SCENES if scene.name == "plain")
    with ExitStack() as ends:
        folder = Path(tempfile.mkdtemp(dir=stage.folder))
        running, _ = peers.start(
            Counted(peers.set_up(setup, ends, tree)),
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
        loop_file, *other_files = sorted(folder.glob("counts.1-*"))
        counts = parse(loop_file.read_text("utf-8", "replace").splitlines())
        others = sum(
            parse(file.read_text("utf-8", "replace").splitlines()).total() for file in other_files
        )
    return Counter({name: number // CALLS for name, number in counts.items()}), others // CALLS


def _control(order: str, running: peers.Running) -> None:
    command = ["callgrind_control", order, str(running.pids()[0])]
    subprocess.run(command, check=True, capture_output=True)


def render(results: Mapping[str, tuple[Counter[str], int]]) -> str:
    """Format the counts of one tree, or of two with their difference."""
    (this, _), *rest = results.values()
    other = rest[0][0] if rest else Counter[str]()
    lines = [
        f"{name}: {counts.total():,} instructions a call in the loop's thread, {others:,} in others"
        for name, (counts, others) in results.items()
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
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        raise SystemExit("machine_instructions: install valgrind")
    trees = {"this tree": ROOT} | ({"the other": options.tree.resolve()} if options.tree else {})
    with peers.stage() as stage:
        results = {name: count(options.setup, tree, stage) for name, tree in trees.items()}
    sys.stdout.write(render(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
