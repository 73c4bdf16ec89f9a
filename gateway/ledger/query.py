"""Questions to the store: what calls can be grouped by, what a group adds up, and its days."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

import msgspec

GROUP_BY_NAMES: Final = (
    *("tier", "lab", "model", "provider", "key", "tenant", "tag", "day", "rule", "state"),
    *("source", "account", "cache", "problem", "config", "dialect", "served", "arm"),
    "guard",
)
"""Names that calls can be grouped by."""

LIST_COLUMNS_BY_NAME: Final = {"tag": "tags", "guard": "guards"}
"""Names of which a call may have several: it counts once for each of its tags, or guards."""

FILTER_NAMES: Final = (*GROUP_BY_NAMES, "id", "status", "conversation")
"""What calls can be chosen by."""

SLOT: Final = "slot"
"""The name of a group's place in a series."""
TIME_NAMES: Final = ("day", SLOT)

type Filters = Mapping[str, Collection[str]]
"""Values by name of ONLY; a call is kept that has one of them for each name."""


class QueryGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The calls that have the same names, added up. None is unknown, never zero."""

    names: tuple[str | None, ...]
    """In the order of `by`; a day is YYYY-MM-DD; None where the call has none."""
    calls: int
    """Final rows, of every state."""
    cached: int
    """Answered from the cache; they cost nothing."""
    failed: int
    """Without an answer: failed, refused, or lost in a crash."""
    input: int | None
    """Tokens neither read from a prompt cache nor written to it. These five are what providers
    used: answers from the cache add nothing."""
    cache_read: int | None
    cache_write: int | None
    output: int | None
    reasoning: int | None
    cost: Decimal | None
    """USD of the calls whose cost is known; None where there is none. So are the sums below."""
    wasted: Decimal | None = None
    """USD of `cost` for attempts that gave no answer."""
    estimate: Decimal | None = None
    """USD of `cost` that rest on estimated tokens."""
    baseline: Decimal | None = None
    """USD that calls would have cost on the baseline, of those whose cost is known too."""
    saved: Decimal | None = None
    """USD of `baseline` less what these calls cost; what failed calls cost is taken off too."""
    reserved: Decimal | None = None
    """USD that the calls of `unknown` may have cost at most, as far as that is known."""
    unknown: int
    """Calls that were, or may have been, billed, and whose whole cost is not known."""
    retried: int = 0
    """Answered, but not by their first attempt."""


TOKENS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")
MONEY: Final = ("cost", "wasted", "estimate", "baseline", "saved", "reserved")

SUM_COLUMNS: Final = (
    "count(*)",
    "count(*) FILTER (WHERE state = 'cache_hit')",
    "count(*) FILTER (WHERE state IN ('failed', 'refused', 'unknown_crash'))",
    "count(*) FILTER (WHERE unknown)",
    "count(*) FILTER (WHERE attempts > 1 AND state IN ('settled', 'estimated', 'aborted'))",
    *(f"sum({name})" for name in TOKENS),
)
"""What `build_group` reads after the names, and before MONEY."""


@dataclass(frozen=True, slots=True)
class SqlDialect:
    """How a database says what the others say differently."""

    placeholder: str
    """The place of a value."""
    bind_texts: Callable[[list[str]], object]
    """Several texts as one value."""
    membership_test: str
    """A test that a column `{}` is one of several texts."""
    list_test: str
    """A test that one of several texts is in the list of a column `{}`."""
    list_join: str
    """A join of each call with the texts of `{column}`, a row `{name}.value` each."""

    def build_expressions(self, by: Sequence[str]) -> dict[str, str]:
        """Return what reads each name that calls are grouped by, but for the time."""
        return {
            name: f"{name}.value" if name in LIST_COLUMNS_BY_NAME else f"c.{name}" for name in by
        }

    def build_joins(self, by: Sequence[str]) -> str:
        """Return what joins each call with the lists that calls are grouped by."""
        return " ".join(
            self.list_join.format(column=f"c.{column}", name=name)
            for name, column in LIST_COLUMNS_BY_NAME.items()
            if name in by
        )


def check_names(
    by: Sequence[str], only: Filters | None, slots: "Slots | None" = None
) -> Sequence[str]:
    """Raise ValueError for a name that calls cannot be grouped or chosen by.

    Returns all that they are grouped by: a series by its slots last.
    """
    for names, allowed_names in ((by, GROUP_BY_NAMES), (only or {}, FILTER_NAMES)):
        if unknown_names := sorted(set(names) - set(allowed_names)):
            raise ValueError(
                f"cannot group by {unknown_names[0]}: it is one of {', '.join(allowed_names)}"
            )
    if slots is None:
        return by
    if "day" in by:
        raise ValueError("a series is of its slots: it cannot be grouped by day")
    return (*by, SLOT)


def build_condition(
    dialect: SqlDialect,
    *,
    since: float | None,
    until: float | None,
    only: Filters | None,
    zone: tzinfo = UTC,
) -> tuple[str, list[object]]:
    """The condition of a choice of calls, in a table that is called c, and its values."""
    conditions = ["true"]
    values: list[object] = []
    for operator, moment in ((">=", since), ("<", until)):
        if moment is not None:
            conditions.append(f"c.at {operator} {dialect.placeholder}")
            values.append(moment)
    for name, accepted_values in (only or {}).items():
        if name == "day":
            spans = [span for text in accepted_values if (span := _parse_day(text, zone))]
            day_condition = f"c.at >= {dialect.placeholder} AND c.at < {dialect.placeholder}"
            conditions.append(f"({' OR '.join([day_condition] * len(spans)) or 'false'})")
            values.extend(moment for span in spans for moment in span)
        else:
            column = "CAST(c.status AS TEXT)" if name == "status" else f"c.{name}"
            list_column = LIST_COLUMNS_BY_NAME.get(name)
            conditions.append(
                dialect.membership_test.format(column)
                if list_column is None
                else dialect.list_test.format(f"c.{list_column}")
            )
            values.append(dialect.bind_texts(list(accepted_values)))
    return " AND ".join(conditions), values


class Slots:
    """Stretches of time side by side; `find_position` tells the place in `names`, from 1 on."""

    def __init__(self, names: list[str], starts: list[float]) -> None:
        self.names = names
        self.starts = starts

    def find_position(self, timestamp: float) -> int:
        """How many of them have begun at a moment."""
        return bisect_right(self.starts, timestamp)


class Days(Slots):
    """The days of a zone from one moment to another."""

    def __init__(self, zone: tzinfo, first: float, last: float) -> None:
        day = datetime.fromtimestamp(first, zone).date() - timedelta(days=1)
        end = datetime.fromtimestamp(last, zone).date() + timedelta(days=1)
        days = [day + timedelta(days=count) for count in range((end - day).days + 1)]
        super().__init__(
            [local_day.isoformat() for local_day in days],
            [find_midnight(local_day, zone) for local_day in days],
        )


def read_names(
    by: Sequence[str], row: Sequence[Any], slots: Slots | None
) -> tuple[str | None, ...]:
    """The names that a row of a database begins with."""
    return tuple(
        slots.names[value - 1] if slots is not None and name in TIME_NAMES else value
        for name, value in zip(by, row, strict=False)
    )


def build_group(by: Sequence[str], row: Sequence[Any], slots: Slots | None) -> QueryGroup:
    """A row of a database: the names of `by`, SUMS, and the six of MONEY."""
    calls, cached, failed, unknown, retried, *sums = row[len(by) :]
    sums[: len(TOKENS)] = [
        None if token_sum is None else int(token_sum) for token_sum in sums[: len(TOKENS)]
    ]
    fields: dict[str, Any] = dict(zip((*TOKENS, *MONEY), sums, strict=True))
    return QueryGroup(
        names=read_names(by, row, slots),
        calls=calls,
        cached=cached,
        failed=failed,
        unknown=unknown,
        retried=retried,
        **fields,
    )


def make_sort_key(by: Sequence[str]) -> Callable[[QueryGroup], tuple[object, ...]]:
    """A key that sorts groups: days in order, then what cost most first, then names."""
    time_indexes = [index for index, name in enumerate(by) if name in TIME_NAMES]

    def key(group: QueryGroup) -> tuple[object, ...]:
        names = [(name is None, name or "") for name in group.names]
        cost_order = (group.cost is None, -(group.cost or 0))
        return ([names[index] for index in time_indexes], *cost_order, names)

    return key


def _parse_day(text: str, zone: tzinfo) -> tuple[float, float] | None:
    try:
        day = date.fromisoformat(text)
        return find_midnight(day, zone), find_midnight(day + timedelta(days=1), zone)
    except (ValueError, OverflowError):  # no day, so nothing was received on it
        return None


def find_midnight(day: date, zone: tzinfo) -> float:
    """When a day begins: where clocks skip midnight, the moment at which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
