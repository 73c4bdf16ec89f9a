"""How results read: rows of medians and ratios to nginx.

A ratio is the median of the rounds' own ratios: what slows a whole round slows both sides of it.
"""

from collections.abc import Callable
from statistics import median

import msgspec

from bench.load import Load
from bench.measure import DIRECT, SCENES, Results

BASE = "nginx"
# Above this share of waiting for a CPU, somebody else used the machine.
BUSY = 0.1

type Values = list[float | None]


class Row(msgspec.Struct, frozen=True):
    """One figure: its key, what it is called, how it is written, and its values for a peer.

    There is a value for each round or each start; None where it is not known.
    """

    key: str
    label: str
    form: str
    values: Callable[[Results, str], Values]


def _seen(scene: str, figure: Callable[[Load], float | None]) -> Callable[[Results, str], Values]:
    def values(results: Results, peer: str) -> Values:
        loads = (group[scene].get(peer) for group in results.rounds)
        return [figure(one) if one else None for one in loads]

    return values


def _added(scene: str, figure: Callable[[Load], float | None]) -> Callable[[Results, str], Values]:
    """What a peer adds to the upstream alone, in the same round."""
    seen = _seen(scene, figure)

    def values(results: Results, peer: str) -> Values:
        pairs = zip(seen(results, peer), seen(results, DIRECT), strict=True)
        return [None if a is None or b is None else a - b for a, b in pairs]

    return values


ROWS = (
    Row(
        "plain",
        "requests per CPU-second, c=64",
        ",.0f",
        _seen("plain", lambda x: x.answers_per_cpu_second),
    ),
    Row(
        "rate",
        "requests per second, c=64",
        ",.0f",
        _seen("plain", lambda x: x.answered / x.seconds),
    ),
    Row("single", "added p50, c=1, ms", ".3f", _added("single", lambda x: x.p50)),
    Row(
        "burst",
        "added p50, burst of 16, upstream 100 ms, ms",
        ".3f",
        _added("burst", lambda x: x.p50),
    ),
    Row(
        "paced",
        "chunks per CPU-second, c=32, paced 5 ms",
        ",.0f",
        _seen("paced", lambda x: x.events_per_cpu_second),
    ),
    Row(
        "rush",
        "chunks per CPU-second, c=32, in bursts",
        ",.0f",
        _seen("rush", lambda x: x.events_per_cpu_second),
    ),
    Row(
        "first",
        "added time to first token p50, c=8, ms",
        ".3f",
        _added("first", lambda x: x.ttft50),
    ),
    Row("idle", "resident memory, idle, MB", ",.0f", lambda r, p: [r.memory[p].idle / 1e6]),
    Row(
        "used",
        "resident memory after {requests:,} requests, MB",
        ",.0f",
        lambda r, p: [r.memory[p].used / 1e6],
    ),
    Row(
        "start",
        "cold start to first answer, s",
        ".2f",
        lambda r, p: [x.seconds for x in r.starts[p]],
    ),
    Row("startcpu", "CPU of a cold start, s", ".2f", lambda r, p: [x.cpu for x in r.starts[p]]),
)


def middle(values: Values) -> float | None:
    """The median of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratios(row: Row, results: Results, peer: str) -> list[float]:
    """A peer's figure over nginx's, pair by pair; a pair without a sensible base is left out."""
    pairs = zip(row.values(results, peer), row.values(results, BASE), strict=True)
    return [a / b for a, b in pairs if a is not None and b is not None and b > 0]


def render(results: Results) -> str:
    """The results as a Markdown table, with the machine above and what to know below."""
    others = [peer for peer in results.peers if peer != BASE]
    compared = [f"{peer} / {BASE}" for peer in others]
    heads = ["", *results.peers, *(head for name in compared for head in (name, "range"))]
    lines = [heads, *(_line(row, results, others) for row in ROWS)]
    return "\n".join([_above(results), "", *_align(lines), "", *_below(results)])


def _line(row: Row, results: Results, others: list[str]) -> list[str]:
    cells = [row.label.format(requests=results.scale.requests)]
    cells += [_written(middle(row.values(results, peer)), row.form) for peer in results.peers]
    for peer in others:
        found = ratios(row, results, peer)
        cells.append(_ratio(middle([*found])))
        cells.append(f"{_ratio(min(found))} - {_ratio(max(found))}" if len(found) > 1 else "")
    return cells


def _written(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _ratio(value: float | None) -> str:
    """Below 1 as a share, above as a multiple."""
    if value is None:
        return "-"
    return _percent(value) if value < 1 else f"{value:.1f}x"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _align(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in (lines[0], rule, *lines[1:])
    ]


def _above(results: Results) -> str:
    here = results.machine
    return (
        f"{here.processor}, {here.cpus} CPUs, Linux {here.kernel}, Python {here.python};"
        f" peers on CPU {here.gateway_cpu} with one worker, mock and load on CPU {here.load_cpu};"
        f" medians of {results.scale.rounds} rounds"
    )


def _below(results: Results) -> list[str]:
    """What a reader has to know to believe the figures."""
    notes = [
        "Ratios are medians of the rounds' ratios. CPU-seconds hold on a busy machine, times do not."
    ]
    if results.machine.gateway_cpu == results.machine.load_cpu:
        notes.append("One CPU only: peers, mock and load share it, so all times are too long.")
    for peer in results.peers:
        share = waiting(results, peer)
        if share > BUSY:
            notes.append(
                f"{peer} waited for its CPU {share:.0%} of the time that it could have run:"
                " others used the machine, its times are too long."
            )
    return notes


def waiting(results: Results, peer: str) -> float:
    """The share of a peer's runnable time in which it had no CPU, over all loads."""
    loads = [
        one
        for group in results.rounds
        for scene in SCENES
        if (one := group[scene.name].get(peer)) is not None
    ]
    waited = sum(one.waited or 0 for one in loads)
    whole = waited + sum(one.cpu or 0 for one in loads)
    return waited / whole if whole else 0.0
