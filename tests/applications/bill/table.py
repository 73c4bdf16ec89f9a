"""The checked-in bill: what each day costs, and why it last changed. `bill.yaml` is the table."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML

from tests.applications.bill.day import FOLDER
from tests.applications.bill.play import TIERS, Sum

type Json = Any

FILE = FOLDER / "bill.yaml"
MOST = 0.05
"""The largest change that needs no reason: of a day's cost, and of a tier's share of its calls."""
_HEAD = """\
# What four scripted days cost with `model: auto`, the configuration that ships and its prices.
# A change that moves a cost by more than 5%, or a tier's share by more than 5 points, fails until the
# table says why. `make bill` prints it; `make bill WHY="..."` writes it, with a line of `why` for each
# day that moved.
"""


@dataclass(frozen=True)
class Line:
    """One day in the table."""

    usd: Decimal
    shares: dict[str, float]
    why: tuple[str, ...]


def read() -> dict[str, Line]:
    """Read the table."""
    if not FILE.exists():
        return {}
    rows = YAML(typ="safe").load(FILE)
    return {
        name: Line(Decimal(row["usd"]), row["shares"], tuple(row["why"]))
        for name, row in rows.items()
    }


def moved(line: Line | None, day: Sum) -> list[str]:
    """List the figures of a day that moved too far from the table."""
    if line is None:
        return ["it is not in the table"]
    change = float(day.usd / line.usd) - 1
    found = []
    if abs(change) > MOST:
        found.append(f"it costs {day.usd} USD, the table has {line.usd} ({change:+.1%})")
    return found + [
        f"{tier} has {day.shares[tier]:.1%} of the calls, the table has {line.shares[tier]:.1%}"
        for tier in TIERS
        if abs(day.shares[tier] - line.shares[tier]) > MOST
    ]


def write(days: dict[str, Sum], why: str) -> None:
    """Write the table anew. A day that is not as the table has it gets a line that says why."""
    before = read()
    rows: Json = {}
    for name, day in days.items():
        line = before.get(name)
        same = line is not None and (line.usd, line.shares) == (day.usd, day.shares)
        lines = [*(line.why if line else ()), *([] if same else [why])]
        rows[name] = {"calls": day.calls, "usd": str(day.usd), "shares": dict(day.shares), "cached": day.cached, "why": lines}  # fmt: skip
    writer = YAML()
    writer.width = 100
    with FILE.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        writer.dump(rows, file)


def show(days: dict[str, Sum]) -> str:
    """Print days as a table."""
    head = f"{'day':8}{'calls':>7}{'USD':>12}" + "".join(f"{tier:>11}" for tier in TIERS) + f"{'cached':>9}"  # fmt: skip
    lines = [head]
    for name, day in days.items():
        shares = "".join(f"{day.shares[tier]:>11.1%}" for tier in TIERS)
        lines.append(f"{name:8}{day.calls:7}{day.usd:>12.6f}{shares}{day.cached:>9.1%}")
    return "\n".join(lines)
