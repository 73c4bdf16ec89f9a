"""The minutes, hours and days that a series is of, as the clocks of a zone have them."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Context
from typing import Any, Final, Literal, get_args

import msgspec

from gateway.ledger.query import MONEY, TOKENS, QueryGroup, Slots, midnight

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
