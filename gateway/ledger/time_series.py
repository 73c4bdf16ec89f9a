"""Time series: the minutes, hours and days of a zone, and how long calls took.

Latencies are percentiles by the nearest rank.

Only calls that a provider answered count: an answer from the cache says nothing about providers,
and a failed call nothing about answers.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Context, Decimal
from typing import Any, Final, Literal, get_args

import msgspec

from gateway.ledger.query import MONEY, TOKENS, QueryGroup, Slots, find_midnight, read_names

LATENCY_COLUMNS: Final = ("duration", "first_content")
PERCENTILES: Final = (50, 95, 99)
"""The percentiles, in percent."""


class LatencySpread(msgspec.Struct, frozen=True):
    """Percentiles of a latency, in seconds."""

    count: int
    """The number of calls with a known latency."""
    p50: float
    p95: float
    p99: float


class LatencyTimes(msgspec.Struct, frozen=True):
    """The latencies of a group's answered calls."""

    names: tuple[str | None, ...]
    """The names of the group, as in a QueryGroup."""
    duration: LatencySpread | None
    """Time from receipt to the last byte; None if no call has one."""
    first_content: LatencySpread | None
    """Time from receipt to the first content."""
    relative_error: float | None = None
    """The most by which a percentile may differ from the exact one, as a part of it; None if it is
    exact."""


def build_latency_query(
    names: Iterable[str], measured_column: str, list_joins: str, condition: str
) -> str:
    """Build a query for one latency column: each group's names, and a LatencySpread."""
    expressions = list(names)
    aliases = [f"a{index}" for index in range(len(expressions))]
    columns = ", ".join(
        f"{name} AS {alias}" for name, alias in zip(expressions, aliases, strict=True)
    )
    percentile_columns = ", ".join(
        f"min(v) FILTER (WHERE n >= (m * {percent} + 99) / 100)" for percent in PERCENTILES
    )
    window = f"PARTITION BY {', '.join(aliases)}" if aliases else ""
    return " ".join(
        [
            f"SELECT {', '.join([*aliases, 'max(m)'])}, {percentile_columns} FROM (",  # noqa: S608 - names of BY only
            f"SELECT {', '.join([*aliases, 'v'])}, row_number() OVER ({window} ORDER BY v) AS n,",
            f"count(*) OVER ({window}) AS m FROM (",
            f"SELECT {columns + ',' if columns else ''} c.{measured_column} AS v",
            f"FROM costs AS c {list_joins}",
            f"WHERE {condition} AND c.state IN ('settled', 'estimated')",
            f"AND c.{measured_column} IS NOT NULL",
            ") AS known) AS ranked",
            f"GROUP BY {', '.join(aliases)}" if aliases else "HAVING count(*) > 0",
        ]
    )


def build_latency_times(
    by: Sequence[str], rows_by_column: Mapping[str, Sequence[Sequence[Any]]], slots: Slots | None
) -> list[LatencyTimes]:
    """Build the groups from the rows of each column of LATENCY_COLUMNS."""
    name_count = len(by)
    spreads = {
        column: {read_names(by, row, slots): LatencySpread(*row[name_count:]) for row in rows}
        for column, rows in rows_by_column.items()
    }
    names = {name for spread in spreads.values() for name in spread}
    return [
        LatencyTimes(spread, spreads["duration"].get(spread), spreads["first_content"].get(spread))
        for spread in sorted(
            names, key=lambda names: [(name is None, name or "") for name in names]
        )
    ]


type SlotLength = Literal["minute", "hour", "day"]
SLOT_LENGTHS: Final[Sequence[str]] = get_args(SlotLength.__value__)
OTHER_NAMES: Final = "others"
"""The name of all groups together that are not shown one by one."""
_ZERO = Decimal(0)
MAX_SLOTS: Final = 5_000
"""The maximum number of slots in a series."""
_SLOT_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_MAX_MINUTES_SPAN, _MAX_HOURS_SPAN = 2 * 3_600, 8 * 86_400
"""The longest spans, in seconds, of a series by minutes and by hours, unless the query says."""
_EXACT_CONTEXT = Context(prec=100)
_COUNT_FIELDS = ("calls", "cached", "failed", "unknown", "retried")


def choose_slot_length(since: float, until: float) -> SlotLength:
    """Return the default slot length for a span of time."""
    span = until - since
    return "minute" if span <= _MAX_MINUTES_SPAN else "hour" if span <= _MAX_HOURS_SPAN else "day"


def build_slots(slot_length: SlotLength, since: float, until: float, zone: tzinfo) -> Slots:
    """Return the slots from the one that contains `since` to the last that begins before `until`.

    A day has all of its hours, be they 23, 24 or 25. Hours and minutes count from the beginning of
    the day, so the last hour of a day may be shorter. Names have the offset from UTC, so an hour
    that clocks show twice has two names. Raises ValueError for more than MAX_SLOTS slots.
    """
    if (until - since) / _SLOT_SECONDS[slot_length] > MAX_SLOTS:
        raise ValueError(
            f"a series has at most {MAX_SLOTS} slots: ask for less time, or longer slots"
        )
    starts = [
        start for start in _find_slot_starts(slot_length, since, until, zone) if start < until
    ]
    first = max((index for index, start in enumerate(starts) if start <= since), default=0)
    starts = starts[first:]
    return Slots([_name_slot(slot_length, start, zone) for start in starts], starts)


def sum_over_slots(groups: Sequence[QueryGroup], name_count: int) -> list[QueryGroup]:
    """Add up a series' groups over its slots, if the first `name_count` names are equal."""
    group_by_names: dict[tuple[str | None, ...], QueryGroup] = {}
    for group in groups:
        names = group.names[:name_count]
        group_by_names[names] = (
            _add_groups(group_by_names[names], group)
            if names in group_by_names
            else _replace_names(group, names)
        )
    return list(group_by_names.values())


def fold_names(groups: Sequence[QueryGroup], index: int, max_names: int) -> list[QueryGroup]:
    """Keep the `max_names` dearest names at a position; add up all others as OTHER_NAMES.

    Calls without a name there stay apart.
    """
    costs: dict[str, Decimal] = {}
    for group in groups:
        if (name := group.names[index]) is not None:
            costs[name] = costs.get(name, _ZERO) + (group.cost or _ZERO)
    if len(costs) <= max_names:
        return list(groups)
    kept_names = set(sorted(costs, key=lambda name: (-costs[name], name))[:max_names])
    group_by_names: dict[tuple[str | None, ...], QueryGroup] = {}
    for group in groups:
        names = group.names
        if names[index] is not None and names[index] not in kept_names:
            names = (*names[:index], OTHER_NAMES, *names[index + 1 :])
        group_by_names[names] = (
            _add_groups(group_by_names[names], group)
            if names in group_by_names
            else _replace_names(group, names)
        )
    return list(group_by_names.values())


def _replace_names(group: QueryGroup, names: tuple[str | None, ...]) -> QueryGroup:
    return msgspec.structs.replace(group, names=names)


def _add_groups(left: QueryGroup, right: QueryGroup) -> QueryGroup:
    sums: dict[str, Any] = {
        name: getattr(left, name) + getattr(right, name) for name in _COUNT_FIELDS
    }
    for name in (*TOKENS, *MONEY):
        left_value, right_value = getattr(left, name), getattr(right, name)
        total = left_value if right_value is None else right_value if left_value is None else None
        if left_value is not None and right_value is not None:
            total = (
                _EXACT_CONTEXT.add(left_value, right_value)
                if name in MONEY
                else left_value + right_value
            )
        sums[name] = total
    return QueryGroup(names=left.names, **sums)


def _find_slot_starts(
    slot_length: SlotLength, since: float, until: float, zone: tzinfo
) -> Iterator[float]:
    day = datetime.fromtimestamp(since, zone).date() - timedelta(days=1)
    slot_seconds = _SLOT_SECONDS[slot_length]
    while (start := find_midnight(day, zone)) < until:
        day += timedelta(days=1)
        end = find_midnight(day, zone)
        if slot_length == "day":
            yield start
        elif end > since:
            # Not from the day's beginning: a thousand minutes may lie between that and `since`.
            first_index = max(0, math.floor((since - start) / slot_seconds))
            count = math.ceil((min(end, until) - start) / slot_seconds)
            yield from (start + index * slot_seconds for index in range(first_index, count))


def _name_slot(slot_length: SlotLength, start: float, zone: tzinfo) -> str:
    local_time = datetime.fromtimestamp(start, zone)
    return (
        local_time.date().isoformat()
        if slot_length == "day"
        else local_time.isoformat(timespec="minutes")
    )
