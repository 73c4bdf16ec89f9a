"""Show where the CPU of a call goes: sample the gateway under load, by its own CPU time.

    python -m bench.samples [plain|full|shipped|cache] [--flame FILE]

A timer that counts CPU interrupts the gateway and keeps the stack. Unlike samplers that use the
clock, it does not count time spent waiting for a CPU. Each sample belongs to the innermost part
that it is in.
"""

import argparse
import atexit
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import dropwhile
from pathlib import Path
from types import FrameType

from bench import flame_graph, load, peers
from bench.peers import Place, Tiergate, Wrapped

PARTS = {
    "reading the body and deciding": ("routing/", "core/decision_context", "core/prompt", "runtime/"),
    "dialects: what is read of requests and answers": ("dialects/",),
    "towards the provider: an attempt, its connection": ("upstream/",),
    "the ledger: rows, prices, journal, store": ("pipeline/accounting", "pipeline/ledger_runtime", "ledger/", "core/call_accounting", "core/price"),
    "limits, budgets, seats, Redis": ("limits/", "state/", "cache/", "pipeline/context"),
    "towards the client: its connection, the endpoint": ("server/",),
    "the engine's steps": ("pipeline/",),
}  # fmt: skip
"""Parts of the gateway, by the prefixes of their files' paths in gateway/."""
REST = "uvicorn, the loop, the rest"
_ENGINE = re.compile(r"pipeline/engine\.py:")
PERIOD = 0.002
SECONDS = 15.0

type Stack = tuple[str, ...]
"""Functions of the project from the outermost to the innermost, as `upstream/failover.py:Upstream.run`."""


class Sampled(Wrapped):
    """A gateway that samples itself, and writes the samples when it ends."""

    def __init__(self, peer: Tiergate, file: Path) -> None:
        """Take the set-up, and the file to write."""
        super().__init__(peer)
        self._file = file

    def command(self, place: Place) -> list[str]:
        """Run the sampler in place of `gateway`."""
        return [sys.executable, "-m", "bench.samples", "--inside", str(self._file)]


def part(stack: Stack) -> str:
    """Return the part of a sample: that of its innermost file which belongs to one."""
    for file in reversed(stack):
        for name, begins in PARTS.items():
            if file.startswith(begins):
                return name
    return REST


def shares(samples: Iterable[Stack]) -> list[tuple[str, float]]:
    """Return the parts with their shares of all samples, the largest first."""
    counts = Counter(map(part, samples))
    whole = counts.total() or 1
    return [(name, count / whole) for name, count in counts.most_common()]


def stack(frame: FrameType | None) -> Stack:
    """Return the functions of the project in a frame's stack."""
    files: list[str] = []
    while frame is not None:
        _, folder, name = frame.f_code.co_filename.rpartition("/gateway/")
        if folder:
            files.append(f"{name}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(files))


def inside(file: Path) -> None:
    """Run the gateway, and write one line for each sample when it ends."""
    seen: list[Stack] = []
    signal.signal(signal.SIGPROF, lambda _, frame: seen.append(stack(frame)))
    atexit.register(lambda: file.write_text("\n".join(map(" ".join, seen))))
    signal.setitimer(signal.ITIMER_PROF, PERIOD, PERIOD)
    sys.argv = ["tiergate", "serve"]
    from gateway.cli import main as serve  # noqa: PLC0415 - the sampler comes first

    serve()


def sample(seconds: float, set_up: str) -> tuple[list[Stack], load.Load]:
    """Sample calls under load, without the samples of the start."""
    with ExitStack() as ends:
        at = ends.enter_context(peers.stage())
        file = at.folder / "samples"
        running, _ = peers.start(
            Sampled(peers.set_up(set_up, ends), file),
            at.folder / "peer",
            at.instruments,
            cpu=at.here.gateway_cpu,
            upstream=at.mock.port,
        )
        with running:
            seen = load.run(
                at.instruments, running.port, ask=running.ask, pids=running.pids(), connections=64, seconds=seconds, warm=1
            )  # fmt: skip
        lines = file.read_text().splitlines()
    return calls(tuple(line.split()) for line in lines), seen


def calls(samples: Iterable[Stack]) -> list[Stack]:
    """Return the samples from the first call on: before it are imports and the configuration."""
    return list(dropwhile(lambda frame: not any(map(_ENGINE.match, frame)), samples))


def main(arguments: list[str] | None = None) -> int:
    """Sample and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.samples", description=__doc__)
    parser.add_argument("set_up", nargs="?", choices=peers.SET_UPS, default="plain")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--flame", type=Path, metavar="FILE", help="write a flame graph")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside:
        inside(given.inside)
        return 0
    samples, seen = sample(given.seconds, given.set_up)
    for name, share in shares(samples):
        sys.stdout.write(f"{share:6.1%}  {name}\n")
    sys.stdout.write(
        f"of {len(samples):,} samples; {seen.answers_per_cpu_second:,.0f} requests per CPU-second\n"
    )
    if given.flame:
        title = f"{given.set_up}: {len(samples):,} samples of CPU"
        given.flame.write_text(flame_graph.draw(samples, title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
