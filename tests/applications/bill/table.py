"""The checked-in bill, `bill.yaml`: the cost of each day, and why it last changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML

from tests.applications.bill.day import FOLDER
from tests.applications.bill.play import TIERS, Sum

type Json = Any
type Sums = Mapping[int | None, Sum]
"""One day's sums, by position of the quality dial; None stands for no dial."""

FILE = FOLDER / "bill.yaml"
MOST = 0.05
"""The largest change that needs no reason: of a day's cost, and of a tier's share of its calls."""
_HEAD = """\
# What four scripted days cost with `model: auto`, the configuration that ships and its prices; below
# `quality`, with that position of the quality dial.
# A change that moves a cost by more than 5%, or a tier's share by more than 5 points, fails until the
# table says why. `make bill` prints it; `make bill WHY="..."` writes it, with a line of `why` for each
# day that moved.
"""


@dataclass(frozen=True)
class Bill:
    """A day's figures in the table, at one position of the dial."""

    usd: Decimal
    shares: dict[str, float]


@dataclass(frozen=True)
class Line:
    """One day in the table."""

    bills: dict[int | None, Bill]
    """By position of the quality dial; None stands for no dial."""
    why: tuple[str, ...]


def read() -> dict[str, Line]:
    """Read the table."""
    if not FILE.exists():
        return {}
    return {name: _read_line(row) for name, row in YAML(typ="safe").load(FILE).items()}


def _read_line(row: Json) -> Line:
    bills = {None: row, **row.get("quality", {})}
    return Line(
        {quality: Bill(Decimal(bill["usd"]), bill["shares"]) for quality, bill in bills.items()},
        tuple(row["why"]),
    )


def moved(line: Line | None, sums: Sums) -> list[str]:
    """List the figures of a day that moved too far from the table."""
    if line is None:
        return ["it is not in the table"]
    return [
        f"{_describe(quality)}, {change}"
        for quality, day in sums.items()
        for change in _list_changes(line.bills.get(quality), day)
    ]


def _list_changes(bill: Bill | None, day: Sum) -> list[str]:
    if bill is None:
        return ["it is not in the table"]
    change = float(day.usd / bill.usd) - 1
    cost = f"it costs {day.usd} USD, the table has {bill.usd} ({change:+.1%})"
    return ([cost] if abs(change) > MOST else []) + [
        f"{tier} has {day.shares[tier]:.1%} of the calls, the table has {bill.shares[tier]:.1%}"
        for tier in TIERS
        if abs(day.shares[tier] - bill.shares[tier]) > MOST
    ]


def _describe(quality: int | None) -> str:
    return "without the dial" if quality is None else f"at quality {quality}"


def write(days: Mapping[str, Sums], why: str) -> None:
    """Write the table anew. A day that differs from the table gets a line with the reason."""
    before = read()
    rows: Json = {}
    for name, sums in days.items():
        line = before.get(name)
        bills = {quality: Bill(day.usd, day.shares) for quality, day in sums.items()}
        same = line is not None and line.bills == bills
        rows[name] = {
            "calls": sums[None].calls,
            **_render(sums[None]),
            "quality": {quality: _render(day) for quality, day in sums.items() if quality is not None},
            "why": [*(line.why if line else ()), *([] if same else [why])],
        }  # fmt: skip
    writer = YAML()
    writer.width = 100
    with FILE.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        writer.dump(rows, file)


def _render(day: Sum) -> Json:
    return {"usd": str(day.usd), "shares": dict(day.shares), "cached": day.cached}


def show(days: Mapping[str, Sums]) -> str:
    """Print days as a table."""
    head = f"{'day':8}{'quality':>8}{'calls':>7}{'USD':>12}" + "".join(f"{tier:>11}" for tier in TIERS) + f"{'cached':>9}"  # fmt: skip
    lines = [head]
    for name, sums in days.items():
        for quality, day in sums.items():
            shares = "".join(f"{day.shares[tier]:>11.1%}" for tier in TIERS)
            position = "off" if quality is None else quality
            lines.append(f"{name:8}{position:>8}{day.calls:7}{day.usd:>12.6f}{shares}{day.cached:>9.1%}")  # fmt: skip
    return "\n".join(lines)
