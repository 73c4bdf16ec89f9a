"""The figures of a run: rows of values, and their ratios to another peer's.

A ratio is the median of the rounds' own ratios: what slows a whole round slows both sides of it.
"""

from collections.abc import Callable
from statistics import median

import msgspec

from bench.load import Load
from bench.measure import DIRECT, SCENES, Results

BASE = "nginx"
OWN = "tiergate"
"""The prefix of the gateway's own set-ups."""

type Values = list[float | None]


class Row(msgspec.Struct, frozen=True):
    """One figure: its key, head in a table, description, format, and its values for a peer.

    There is a value for each round or each start; None if it is unknown. `less` is true if a
    smaller value is better.
    """

    key: str
    head: str
    label: str
    form: str
    values: Callable[[Results, str], Values]
    less: bool = False


def _seen(scene: str, figure: Callable[[Load], float | None]) -> Callable[[Results, str], Values]:
    def values(results: Results, peer: str) -> Values:
        loads = (group.get(scene, {}).get(peer) for group in results.rounds)
        return [figure(load) if load else None for load in loads]

    return values


def _added(scene: str, figure: Callable[[Load], float | None]) -> Callable[[Results, str], Values]:
    """Make a row's values: the time that a peer adds to the upstream alone, in the same round."""
    seen = _seen(scene, figure)

    def values(results: Results, peer: str) -> Values:
        pairs = zip(seen(results, peer), seen(results, DIRECT), strict=True)
        return [None if a is None or b is None else a - b for a, b in pairs]

    return values


def _megabytes(results: Results, peer: str) -> Values:
    weight = results.weights.get(peer)
    return [weight.bytes / 1e6 if weight else None]


def _distributions(results: Results, peer: str) -> Values:
    weight = results.weights.get(peer)
    return [weight.distributions if weight else None]


ROWS = (
    Row("plain", "requests/CPU-s", "requests per CPU-second, c=64", ",.0f",
        _seen("plain", lambda x: x.answers_per_cpu_second)),
    Row("rate", "requests/s", "requests per second, c=64", ",.0f",
        _seen("plain", lambda x: x.answered / x.seconds)),
    Row("lone", "lone requests/CPU-s", "requests per CPU-second, c=1", ",.0f",
        _seen("single", lambda x: x.answers_per_cpu_second)),
    Row("single", "added p50, ms", "added p50, c=1, ms", ".2f", _added("single", lambda x: x.p50), less=True),
    Row("single99", "added p99, ms", "added p99, c=1, ms", ".2f", _added("single", lambda x: x.p99), less=True),
    Row("burst", "burst, added p50, ms", "added p50, burst of 16, upstream 100 ms, ms", ".2f",
        _added("burst", lambda x: x.p50), less=True),
    Row("paced", "paced chunks/CPU-s", "chunks per CPU-second, c=32, paced 5 ms", ",.0f",
        _seen("paced", lambda x: x.events_per_cpu_second)),
    Row("rush", "burst chunks/CPU-s", "chunks per CPU-second, c=32, in bursts", ",.0f",
        _seen("rush", lambda x: x.events_per_cpu_second)),
    Row("first", "first token, added p50, ms", "added time to first token p50, c=8, ms", ".2f",
        _added("first", lambda x: x.ttft50), less=True),
    Row("middle", "20 KB requests/CPU-s", "requests of 20 KB per CPU-second, c=16", ",.0f",
        _seen("middle", lambda x: x.answers_per_cpu_second)),
    Row("large", "400 KB requests/CPU-s", "requests of 400 KB per CPU-second, c=4", ",.0f",
        _seen("large", lambda x: x.answers_per_cpu_second)),
    Row("idle", "idle, MB", "resident memory, idle, MB", ",.0f",
        lambda r, p: [r.memory[p].idle / 1e6], less=True),
    Row("used", "used, MB", "resident memory after many requests, MB", ",.0f",
        lambda r, p: [r.memory[p].used / 1e6], less=True),
    Row("requests", "after requests", "so many requests", ",.0f", lambda r, p: [r.memory[p].requests]),
    Row("growth", "growth, MB", "growth of resident memory over them, MB", ",.1f",
        lambda r, p: [(r.memory[p].used - r.memory[p].idle) / 1e6], less=True),
    Row("start", "start, s", "cold start to first answer, s", ".2f",
        lambda r, p: [x.seconds for x in r.starts[p]], less=True),
    Row("startcpu", "start, CPU-s", "CPU of a cold start, s", ".2f",
        lambda r, p: [x.cpu for x in r.starts[p]], less=True),
    Row("megabytes", "installed, MB", "installed, MB", ",.0f", _megabytes, less=True),
    Row("distributions", "distributions", "distributions", ",.0f", _distributions, less=True),
)  # fmt: skip
BY_KEY = {row.key: row for row in ROWS}
TOPICS = {
    "Requests of 845 bytes, 64 at a time; alone; 16 in the same moment to an upstream that takes 100 ms":
        ("plain", "rate", "single", "single99", "burst"),
    "Streams of 256 chunks, 32 at a time, paced 5 ms and as fast as they are taken; 8 at a time; large"
    " requests": ("paced", "rush", "first", "middle", "large"),
    "Resident memory, the command to the first answer, and what is installed":
        ("idle", "used", "requests", "start", "startcpu", "megabytes", "distributions"),
}  # fmt: skip
"""Figures that stand in one table, by its heading."""
COMPARED = (
    "plain",
    "lone",
    "single",
    "burst",
    "paced",
    "rush",
    "first",
    "middle",
    "large",
    "idle",
    "start",
)
"""Figures that are compared with those of other peers."""


def middle(values: Values) -> float | None:
    """Return the median of the known values; None if there are none."""
    measured = [value for value in values if value is not None]
    return median(measured) if measured else None


def ratios(row: Row, results: Results, peer: str, base: str = BASE) -> list[float]:
    """Divide a peer's figure by another's, pair by pair; skip a pair without a sensible base.

    Another gateway may have fewer starts: only as many as both have are compared.
    """
    pairs = zip(row.values(results, peer), row.values(results, base), strict=False)
    return [a / b for a, b in pairs if a is not None and b is not None and b > 0]


def waiting(results: Results, peer: str) -> float:
    """Return the share of a peer's runnable time in which it had no CPU, over all loads."""
    loads = [
        load
        for group in results.rounds
        for scene in SCENES
        if (load := group.get(scene.name, {}).get(peer)) is not None
    ]
    waited = sum(load.waited or 0 for load in loads)
    whole = waited + sum(load.cpu or 0 for load in loads)
    return waited / whole if whole else 0.0
