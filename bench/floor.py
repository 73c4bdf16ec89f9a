"""The floors: what the gateway must reach, in one place, and the check of a run against them.

A share or a multiple refers to nginx, or to another set-up, in the same run, so that it holds on
any machine. Memory and the CPU of a cold start are absolute.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from bench.figures import BASE, BY_KEY, Row, Values, middle, ratios
from bench.measure import Results


class Floor(msgspec.Struct, frozen=True):
    """One floor: the row's key, which of its figures, and the smallest or largest value that meets it."""

    row: str
    figure: Literal["ratio", "value"]
    least: float = float("-inf")
    most: float = float("inf")
    base: str = BASE


FLOORS: dict[str, tuple[Floor, ...]] = {
    "tiergate": (
        Floor("plain", "ratio", least=0.045),
        Floor("paced", "ratio", least=0.25),
        Floor("rush", "ratio", least=0.15),
        Floor("lone", "ratio", least=0.03),
        Floor("idle", "value", most=82.0),
        Floor("startcpu", "value", most=2.0),
    ),
    "tiergate-full": (
        Floor("plain", "ratio", base="tiergate", least=0.15),
        Floor("paced", "ratio", least=0.25),
        Floor("idle", "value", most=95.0),
    ),
    "tiergate-shipped": (
        Floor("plain", "ratio", base="tiergate", least=0.15),
        Floor("idle", "value", most=89.5),
    ),
    "tiergate-cache": (
        Floor("plain", "ratio", least=0.045),
        Floor("lone", "ratio", base="tiergate", least=1.1),
    ),
}
"""Floors by set-up.

Requests and chunks per CPU-second are shares of nginx's, or of the plain relay's. Memory is in MB,
without a local model. The start is in seconds of CPU from the command to the first answer. No floor
is a clock time, which depends more on the machine's other load.
"""


class Verdict(msgspec.Struct, frozen=True):
    """A floor, a peer's value, and its text; an unknown value misses the floor."""

    peer: str
    row: Row
    floor: Floor
    found: float | None

    @property
    def met(self) -> bool:
        """True if the floor is met."""
        return self.found is not None and self.floor.least <= self.found <= self.floor.most


def verdicts(results: Results) -> list[Verdict]:
    """Return every floor of every set-up that the run measured, with its value."""
    return [
        Verdict(peer, BY_KEY[floor.row], floor, middle(_figures(floor, results, peer)))
        for peer in results.peers
        for floor in FLOORS.get(peer, ())
    ]


def _figures(floor: Floor, results: Results, peer: str) -> Values:
    row = BY_KEY[floor.row]
    if floor.figure == "value":
        return row.values(results, peer)
    return [*ratios(row, results, peer, floor.base)] if floor.base in results.peers else []


def render(verdicts: list[Verdict]) -> str:
    """Format the verdicts, one line for each floor."""
    return "\n".join(_line(verdict) for verdict in verdicts)


def _line(verdict: Verdict) -> str:
    floor = verdict.floor
    write: Callable[[float], str] = _value
    if floor.figure == "ratio":
        write = _share if 0 < floor.least < 1 else _multiple
    bound = f"least {write(floor.least)}" if floor.least > 0 else f"most {write(floor.most)}"
    seen = "unknown" if verdict.found is None else write(verdict.found)
    of = f" of {floor.base}" if floor.figure == "ratio" else ""
    return f"{'ok    ' if verdict.met else 'MISSED'}  {verdict.peer}, {verdict.row.label}: {seen}{of}, at {bound}"


def _share(number: float) -> str:
    return f"{number:.1%}"


def _multiple(number: float) -> str:
    return f"{number:.1f}x"


def _value(number: float) -> str:
    return f"{number:.4g}"
