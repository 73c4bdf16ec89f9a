"""Two trees of this gateway beside each other, by turns: what a change costs or saves.

    python -m bench.versus TREE [plain|paced|rush|middle|large] [--full] [--rounds N]

TREE is another checkout, with a .venv of its own. Each round puts the same load on both, every other
time the other first, and gives the ratio of their CPU for a request; below 1, this tree takes less.
Only ratios of one round say anything where others use the machine.
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load, peers, place
from bench.load import Instruments
from bench.measure import EVENTS, SCENES, Scene
from bench.peers import ROOT, Full, Place, Running, Tiergate

ROUNDS = 12
SECONDS = 2.0
LOADS = {scene.name: scene for scene in SCENES if not scene.direct}


class Tree(Tiergate):
    """A set-up of the gateway of another tree: its code and its interpreter, this bench's configuration."""

    def __init__(self, tree: Path, peer: Tiergate) -> None:
        """Takes the tree and the set-up; they share nothing else."""
        self._tree = tree
        self._peer = peer
        self.name = str(tree)

    def command(self, place: Place) -> list[str]:
        """`tiergate serve`, of that tree and its interpreter."""
        return [str(self._tree / ".venv/bin/python"), "-m", "gateway", "serve"]

    def environment(self, place: Place) -> dict[str, str]:
        """Of the set-up."""
        return self._peer.environment(place) | {"PYTHONPATH": str(self._tree)}

    def ask(self, place: Place) -> load.Ask:
        """Of the set-up."""
        return self._peer.ask(place)


def cost(running: Running, instruments: Instruments, scene: Scene, seconds: float) -> float:
    """Microseconds of CPU for a request, or for a chunk of a stream."""
    seen = load.run(
        instruments,
        running.port,
        ask=running.ask,
        size=scene.size,
        pids=running.pids(),
        connections=scene.connections,
        seconds=seconds,
        warm=scene.warm,
        stream=scene.stream,
        events=EVENTS if scene.stream else 0,
        ramp_us=scene.ramp_us,
    )
    rate = seen.events_per_cpu_second if scene.stream else seen.answers_per_cpu_second
    return 1e6 / rate if rate else float("nan")


def compare(
    other: Path, scene: Scene, *, full: bool, rounds: int, seconds: float = SECONDS
) -> list[tuple[float, float]]:
    """Costs of this tree and of another in each round, in microseconds of CPU.

    Raises `Missing`, `Unstarted` and `Broken` as the bench does.
    """
    with ExitStack() as ends:
        at = ends.enter_context(peers.stage())

        def begin(tree: Path) -> Running:
            peer = Tree(tree, Full(ends.enter_context(place.serving_any())) if full else Tiergate())
            running, _ = peers.start(
                peer,
                Path(tempfile.mkdtemp(dir=at.folder)),
                at.instruments,
                cpu=at.here.gateway_cpu,
                upstream=at.mock.port,
            )
            return ends.enter_context(running)

        pair = begin(ROOT), begin(other.resolve())
        load.control(at.mock.port, scene.setting)
        found: list[tuple[float, float]] = []
        for number in range(rounds + 1):  # the first warms both
            costs = [
                cost(one, at.instruments, scene, seconds) for one in pair[:: 1 - number % 2 * 2]
            ]
            this, that = costs[:: 1 - number % 2 * 2]
            found.append((this, that))
        return found[1:]


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.versus", description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("load", nargs="?", choices=LOADS, default="plain")
    parser.add_argument("--full", action="store_true", help="everything on, as bench/full.yaml")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    scene = LOADS[given.load]
    found = compare(given.tree, scene, full=given.full, rounds=given.rounds)
    this, other = (statistics.median(side) for side in zip(*found, strict=True))
    ratios = sorted(one / two for one, two in found)
    quarter = len(ratios) // 4
    sys.stdout.write(
        f"this tree {this:.1f} us a {'chunk' if scene.stream else 'request'}, the other {other:.1f};"
        f" ratio {statistics.median(ratios):.3f}"
        f" ({ratios[quarter]:.3f} to {ratios[-quarter - 1]:.3f} without the outer quarters)\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
