"""The gateway's targets beside a run's values: floor, goal and stretch of each figure.

Ratios are to a peer of the same run. Most targets were set before the gateway was written, from
prototypes and from peers measured on another machine. Those beside ferrogw and beside gateways in
Rust were set on 30 November 2026, after hand-made fast paths had left. A floor in `floor` fails a
run; a target here only shows the distance.
"""

import msgspec

from bench.figures import BASE, BY_KEY, middle, ratios
from bench.measure import Results


class Target(msgspec.Struct, frozen=True):
    """A figure of a set-up, absolute or as a ratio to `base`, and up to three marks, the nearest first.

    A mark that nobody set is None.
    """

    row: str
    marks: tuple[float | None, ...]
    base: str | None = None
    peer: str = "tiergate"

    @property
    def less(self) -> bool:
        """True if a smaller value is better."""
        return BY_KEY[self.row].less

    def found(self, results: Results) -> float | None:
        """Return a run's value; None if the run did not measure the figure or its base."""
        if not {self.peer, self.base or self.peer} <= set(results.peers):
            return None
        row = BY_KEY[self.row]
        if self.base:
            return middle([*ratios(row, results, self.peer, self.base)])
        return middle(row.values(results, self.peer))

    def reached(self, value: float) -> str:
        """Return the farthest mark that the value reaches."""
        met = [
            name
            for name, mark in zip(MARKS, self.marks, strict=False)
            if mark is not None and (value <= mark if self.less else value >= mark)
        ]
        return met[-1] if met else "none"

    def written(self, value: float | None) -> str:
        """Format a value in the style of its figure; None is empty."""
        if value is None:
            return ""
        if self.base is None:
            return f"{value:.2f}" if BY_KEY[self.row].form == ".2f" else f"{value:.0f}"
        if self.base == BASE:
            return f"{value:.1%}" if value < _SMALL else f"{value:.0%}"
        return f"{value:.3g}x"


MARKS = ("floor", "goal", "stretch")
FULL = "tiergate-full"
SHIPPED = "tiergate-shipped"
RUST = ("rolter", "smg", "vllm-router", "firstpass")
"""Peers that are written in Rust."""
_SMALL = 0.1
TARGETS = (
    Target("plain", (0.06, 0.12, 0.18), BASE),
    Target("plain", (1.3, 2, 2.5), "ferrogw"),
    Target("plain", (3, 6, 10), "airmux"),
    Target("plain", (60, 120, 200), "litellm"),
    Target("plain", (2, 3, 5), "airmux", FULL),
    Target("plain", (0.65, 1, 1.25), "ferrogw", FULL),
    Target("plain", (2, 3, 5), "airmux", SHIPPED),
    Target("plain", (0.5, 0.75, 1.25), "ferrogw", SHIPPED),
    *(Target("plain", (None, 0.4), rust, SHIPPED) for rust in RUST),
    Target("single", (0.45, 0.30, 0.20)),
    Target("single", (0.9, 0.6, 0.4), peer=FULL),
    Target("single", (0.9, 0.6, 0.4), peer=SHIPPED),
    Target("burst", (2, 1.2, 0.9)),
    Target("paced", (0.25, 0.40, 0.55), BASE),
    Target("paced", (1, 1.3, 1.8), "ferrogw"),
    Target("paced", (2.5, 3.5), "airmux"),
    Target("first", (1.0, 0.5, 0.3)),
    Target("middle", (1.5, 4, 7), "ferrogw"),
    Target("large", (3, 6, 9), "ferrogw"),
    Target("idle", (90, 70, 60)),
    Target("growth", (20, 8, 3)),
    Target("start", (1.5, 0.9, 0.6)),
    Target("megabytes", (60, 40)),
    Target("distributions", (40, 30)),
)


def lines(results: Results) -> list[list[str]]:
    """Return a head, and a line for each target: figure, marks, value, and the mark reached.

    Targets of a set-up that the run does not have are left out.
    """
    rows = [["", *MARKS, "measured", "reached"]]
    for target in TARGETS:
        if target.peer not in results.peers:
            continue
        of = f" of {target.base}" if target.base else ""
        marks = [target.written(mark) for mark in target.marks]
        value = target.found(results)
        result = ["-", "not measured"]
        if value is not None:
            result = [target.written(value), target.reached(value)]
        rest = [""] * (len(MARKS) - len(marks))
        rows.append([f"{target.peer}: {BY_KEY[target.row].label}{of}", *marks, *rest, *result])
    return rows
