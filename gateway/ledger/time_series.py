"""The minutes, hours and days that a series is of, as the clocks of a zone have them.

How long calls took: shares of them that were as fast or faster, by the nearest rank.

Calls that a provider has answered count, and no others: an answer from the cache would say nothing
of providers, and a call that failed nothing of answers.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Context
from typing import Any, Final, Literal, get_args

import msgspec

from gateway.ledger.query import MONEY, TOKENS, QueryGroup, Slots, midnight, named

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


type Every = Literal["minute", "hour", "day"]
EVERY: Final[Sequence[str]] = get_args(Every.__value__)
MOST: Final = 5_000
"""Slots of one series."""
_LENGTH = {"minute": 60, "hour": 3_600, "day": 86_400}
_SHORT, _LONG = 2 * 3_600, 8 * 86_400
"""Seconds up to which a series is of minutes, and of hours, where nobody says of what."""
_EXACT = Context(prec=100)
_COUNTS = ("calls", "cached", "failed", "unknown", "retried")


def fitting(since: float, until: float) -> Every:
    """What a series is of unless somebody says."""
    span = until - since
    return "minute" if span <= _SHORT else "hour" if span <= _LONG else "day"


def series(every: Every, since: float, until: float, zone: tzinfo) -> Slots:
    """Slots from the one that `since` lies in to the last that begins before `until`.

    A day has all of its hours, be they 23, 24 or 25: an hour or a minute begins so many after the
    day did, and the last hour of a day may be shorter. Names have the offset from UTC, so that an
    hour that clocks show twice has two. Raises ValueError where there would be more than MOST.
    """
    if (until - since) / _LENGTH[every] > MOST:
        raise ValueError(f"a series has at most {MOST} slots: ask for less time, or longer slots")
    starts = [start for start in _starts(every, since, until, zone) if start < until]
    first = max((n for n, start in enumerate(starts) if start <= since), default=0)
    starts = starts[first:]
    return Slots([_name(every, start, zone) for start in starts], starts)


def added(groups: Sequence[QueryGroup], by: int) -> list[QueryGroup]:
    """Groups of a series put together over its slots: those with the same first `by` names."""
    found: dict[tuple[str | None, ...], QueryGroup] = {}
    for one in groups:
        names = one.names[:by]
        found[names] = _sum(found[names], one) if names in found else _of(one, names)
    return list(found.values())


def _of(one: QueryGroup, names: tuple[str | None, ...]) -> QueryGroup:
    return msgspec.structs.replace(one, names=names)


def _sum(one: QueryGroup, other: QueryGroup) -> QueryGroup:
    sums: dict[str, Any] = {name: getattr(one, name) + getattr(other, name) for name in _COUNTS}
    for name in (*TOKENS, *MONEY):
        a, b = getattr(one, name), getattr(other, name)
        known = a if b is None else b if a is None else None
        if a is not None and b is not None:
            known = _EXACT.add(a, b) if name in MONEY else a + b
        sums[name] = known
    return QueryGroup(names=one.names, **sums)


def _starts(every: Every, since: float, until: float, zone: tzinfo) -> Iterator[float]:
    day = datetime.fromtimestamp(since, zone).date() - timedelta(days=1)
    length = _LENGTH[every]
    while (start := midnight(day, zone)) < until:
        day += timedelta(days=1)
        end = midnight(day, zone)
        if every == "day":
            yield start
        elif end > since:
            # Not from the day's own beginning: it may have a thousand minutes before `since`.
            skipped = max(0, math.floor((since - start) / length))
            count = math.ceil((min(end, until) - start) / length)
            yield from (start + n * length for n in range(skipped, count))


def _name(every: Every, start: float, zone: tzinfo) -> str:
    local = datetime.fromtimestamp(start, zone)
    return local.date().isoformat() if every == "day" else local.isoformat(timespec="minutes")
