"""Compare the cost of a miss of the response cache with that of a call that it does not serve.

    python -m bench.cache_miss [plain|rush|paced|middle|large] [--starts N] [--rounds N]

One gateway gets both kinds of calls by turns. They differ in their temperature alone: the cache
serves 0, not 0.7. Each round gives the ratio of their CPU for a request. The result is the median
over all starts.
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench import load, peers
from bench.compare_trees import cost
from bench.measure import SCENES, Scene
from bench.peers import Place, Tiergate

STARTS = 4
ROUNDS = 8
SECONDS = 1.5
LOADS = {scene.name: scene for scene in SCENES if not scene.direct}
PLAIN, KEPT = 0.7, 0.0
"""Temperatures of a call that the cache does not serve, and of one that it does."""


class Keeping(Tiergate):
    """The plain relay, with its response cache on."""

    def environment(self, place: Place) -> dict[str, str]:
        """Override the cache settings of bench/gateway.yaml."""
        cache = {"TIERGATE_CACHE__TTL": "1h", "TIERGATE_CACHE__DEFAULT": "on"}
        return super().environment(place) | cache


class Round(msgspec.Struct, frozen=True):
    """Microseconds of CPU for a request or for a chunk of a stream, in one round."""

    kept: float
    plain: float

    @property
    def ratio(self) -> float:
        """Return the cost of the cacheable call as a multiple of the other's."""
        return self.kept / self.plain


def measure(scene: Scene, *, starts: int, rounds: int) -> list[list[Round]]:
    """Measure the rounds of each start. Raises `Missing`, `Unstarted` and `Broken`, as the bench does."""
    return [_start(scene, rounds) for _ in range(starts)]


def _start(scene: Scene, rounds: int) -> list[Round]:
    with ExitStack() as ends:
        at = ends.enter_context(peers.stage())
        running, _ = peers.start(
            Keeping(),
            Path(tempfile.mkdtemp(dir=at.folder)),
            at.instruments,
            cpu=at.here.gateway_cpu,
            upstream=at.mock.port,
        )
        ends.enter_context(running)
        load.control(at.mock.port, scene.setting)

        def once(temperature: float, number: int) -> float:
            # The load counts its requests from 1 each time: another user makes them new.
            running.ask = load.Ask(temperature=temperature, user=f"customer-{number:04}")
            return cost(running, at.instruments, scene, SECONDS)

        measured = []
        for number in range(rounds + 1):  # the first round warms both
            order = (KEPT, PLAIN) if number % 2 else (PLAIN, KEPT)
            costs = {temperature: once(temperature, number) for temperature in order}
            measured.append(Round(costs[KEPT], costs[PLAIN]))
        return measured[1:]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.cache_miss", description=__doc__)
    parser.add_argument("load", nargs="?", choices=LOADS, default="plain")
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    scene = LOADS[given.load]
    ratios = measure(scene, starts=given.starts, rounds=given.rounds)
    every = [pair for start in ratios for pair in start]
    medians = sorted(statistics.median(pair.ratio for pair in start) for start in ratios)
    what = "chunk" if scene.stream else "request"
    sys.stdout.write(
        f"a miss takes {statistics.median(pair.kept for pair in every):.1f} us a {what}, a call that"
        f" is not cached {statistics.median(pair.plain for pair in every):.1f};"
        f" ratio {statistics.median(pair.ratio for pair in every):.3f}"
        f" (starts {medians[0]:.3f} to {medians[-1]:.3f})\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
