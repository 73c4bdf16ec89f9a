"""Compare two trees of this gateway by turns: what a change costs or saves.

    python -m bench.compare_trees TREE [plain|paced|rush|middle|large] [--setup plain|full|shipped|cache]
                           [--starts N] [--rounds N]

TREE is another checkout, with a .venv of its own. Each tree is started several times, because two
processes of the same code differ by their memory layout. All of them run at once. Each round puts
the same load on each, one of this tree beside one of the other, and gives the ratio of their CPU
for a request. Below 1, this tree takes less. On a machine with other load, only ratios of one round
mean something.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import msgspec

from bench import load, peers
from bench.load import Instruments
from bench.measure import EVENTS, SCENES, Scene
from bench.peers import ROOT, SET_UPS, Running

STARTS = 4
ROUNDS = 12
SECONDS = 2.0
LOADS = {scene.name: scene for scene in SCENES if not scene.direct}


type Pair = tuple[float, float]
"""Microseconds of CPU for a request or chunk in one round: a start of this tree, one of the other."""


class Comparison(msgspec.Struct, frozen=True):
    """The measurements: for each start of both trees, a pair for each round."""

    starts: list[list[Pair]]

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each start: the median of its rounds."""
        return [statistics.median(this / other for this, other in start) for start in self.starts]

    @property
    def same_tree_ratios(self) -> list[float]:
        """Return the ratios, 1 or more, of neighbouring starts of one tree."""
        ratios = []
        for start, next_start in pairwise(self.starts):
            for tree in (0, 1):
                ratio = statistics.median(
                    pair[tree] / next_pair[tree]
                    for pair, next_pair in zip(start, next_start, strict=True)
                )
                ratios.append(max(ratio, 1 / ratio))
        return ratios

    @property
    def is_difference_real(self) -> bool:
        """True if all starts agree, and their median differs by more than any two starts of one tree."""
        ratio = statistics.median(self.ratios)
        same_side = all((tree_ratio < 1) == (ratio < 1) for tree_ratio in self.ratios)
        return same_side and max(ratio, 1 / ratio) > max(
            self.same_tree_ratios, default=float("inf")
        )


def cost(running: Running, instruments: Instruments, scene: Scene, seconds: float) -> float:
    """Measure the microseconds of CPU for a request, or for a chunk of a stream."""
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
    other: Path, scene: Scene, *, setup: str, starts: int, rounds: int, seconds: float = SECONDS
) -> Comparison:
    """Measure this tree and another, with this many starts of each and rounds of each start.

    Raises `Missing`, `Unstarted` and `Broken` as the bench does.
    """
    with ExitStack() as ends:
        at = ends.enter_context(peers.stage())

        def begin(tree: Path) -> Running:
            running, _ = peers.start(
                peers.set_up(setup, ends, tree),
                Path(tempfile.mkdtemp(dir=at.folder)),
                at.instruments,
                cpu=at.here.gateway_cpu,
                upstream=at.mock.port,
            )
            return ends.enter_context(running)

        trees = (ROOT, other.resolve())
        running = [tuple(map(begin, alternate(trees, number))) for number in range(starts)]
        pairs = [alternate(pair, number) for number, pair in enumerate(running)]
        load.control(at.mock.port, scene.setting)
        pairs_by_scene: list[list[Pair]] = [[] for _ in pairs]
        for round_number in range(rounds + 1):  # the first round warms all
            for number, pair in enumerate(pairs):
                turn = round_number + number
                costs = [
                    cost(peer_side, at.instruments, scene, seconds)
                    for peer_side in alternate(pair, turn)
                ]
                this, that = alternate(costs, turn)
                pairs_by_scene[number].append((this, that))
        return Comparison([start[1:] for start in pairs_by_scene])


def alternate[T](pair: Sequence[T], turn: int) -> Sequence[T]:
    """Return the pair, in reverse order on every other turn."""
    return pair[::-1] if turn % 2 else pair


def render(comparison: Comparison, unit: str) -> str:
    """Format the comparison, as four lines."""
    pairs = [pair for start in comparison.starts for pair in start]
    this, other = (statistics.median(costs) for costs in zip(*pairs, strict=True))
    ratios, same = sorted(comparison.ratios), sorted(comparison.same_tree_ratios)
    ratio = (
        f"ratio {statistics.median(ratios):.3f}; by start {ratios[0]:.3f} to {ratios[-1]:.3f}"
        f" ({len(comparison.starts)} starts of each, {len(comparison.starts[0])} rounds of each start)"
    )
    lines = [f"this tree {this:.1f} us a {unit}, the other {other:.1f}", ratio]
    if same:
        lines += [
            f"two starts of one tree differ by {statistics.median(same):.3f}, at most {same[-1]:.3f}",
            "the trees differ by more than that"
            if comparison.is_difference_real
            else "no difference between the trees is seen",
        ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare_trees",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tree", type=Path)
    parser.add_argument("load", nargs="?", choices=LOADS, default="plain")
    parser.add_argument("--setup", choices=SET_UPS, default="plain")
    parser.add_argument("--starts", type=int, default=STARTS, help="of each tree")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="in all, spread over the starts")
    given = parser.parse_args(arguments)
    scene = LOADS[given.load]
    scenes = SET_UPS[given.setup].scenes
    if scenes is not None and scene.name not in scenes:
        parser.error(f"the setup {given.setup} is not measured under the load {scene.name}")
    rounds = -(-given.rounds // given.starts)
    comparison = compare(given.tree, scene, setup=given.setup, starts=given.starts, rounds=rounds)
    sys.stdout.write(render(comparison, "chunk" if scene.stream else "request") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
