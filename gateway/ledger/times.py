"""How long calls took: shares of them that were as fast or faster, by the nearest rank.

Calls that a provider has answered count, and no others: an answer from the cache would say nothing
of providers, and a call that failed nothing of answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.ledger.query import Slots, named

MEASURED: Final = ("duration", "first_content")
RANKS: Final = (50, 95, 99)
"""Percent."""


class LatencySpread(msgspec.Struct, frozen=True):
    """Seconds within which so many calls in a hundred were done."""

    count: int
    """Calls of which it is known."""
    p50: float
    p95: float
    p99: float


class LatencyTimes(msgspec.Struct, frozen=True):
    """How long the answered calls of a group took."""

    names: tuple[str | None, ...]
    """As those of a Group."""
    duration: LatencySpread | None
    """From receipt to the last byte; None where it is known of none."""
    first_content: LatencySpread | None
    """From receipt to the first content."""


def ranks(names: Iterable[str], what: str, tags: str, test: str) -> str:
    """Make a query for the latency of a column in each group: its names, and a LatencySpread."""
    given = list(names)
    parts = [f"a{n}" for n in range(len(given))]
    columns = ", ".join(f"{name} AS {part}" for name, part in zip(given, parts, strict=True))
    least = ", ".join(f"min(v) FILTER (WHERE n >= (m * {rank} + 99) / 100)" for rank in RANKS)
    over = f"PARTITION BY {', '.join(parts)}" if parts else ""
    return " ".join(
        [
            f"SELECT {', '.join([*parts, 'max(m)'])}, {least} FROM (",  # noqa: S608 - names of BY only
            f"SELECT {', '.join([*parts, 'v'])}, row_number() OVER ({over} ORDER BY v) AS n,",
            f"count(*) OVER ({over}) AS m FROM (",
            f"SELECT {columns + ',' if columns else ''} c.{what} AS v FROM costs AS c {tags}",  # noqa: S608 - as above
            f"WHERE {test} AND c.state IN ('settled', 'estimated') AND c.{what} IS NOT NULL",
            ") AS known) AS ranked",
            f"GROUP BY {', '.join(parts)}" if parts else "HAVING count(*) > 0",
        ]
    )


def times(
    by: Sequence[str], found: Mapping[str, Sequence[Sequence[Any]]], slots: Slots | None
) -> list[LatencyTimes]:
    """The groups of what each of MEASURED has found."""
    width = len(by)
    spreads = {
        what: {named(by, row, slots): LatencySpread(*row[width:]) for row in rows}
        for what, rows in found.items()
    }
    names = {name for one in spreads.values() for name in one}
    return [
        LatencyTimes(one, **{what: spreads[what].get(one) for what in MEASURED})
        for one in sorted(names, key=lambda names: [(name is None, name or "") for name in names])
    ]
