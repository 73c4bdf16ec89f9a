"""Queries to the store: names to group and filter calls by, the sums of a group, and its days."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

import msgspec

GROUP_BY_NAMES: Final = (
    *(
        "tier",
        "lab",
        "model",
        "provider",
        "key",
        "user",
        "team",
        "tenant",
        "tag",
        "day",
        "rule",
        "state",
    ),
    *("source", "account", "cache", "problem", "config", "dialect", "served", "arm"),
    *("guard", "operation"),
)
"""Names to group calls by."""

LIST_COLUMNS_BY_NAME: Final = {"tag": "tags", "guard": "guards"}
"""Names with several values for a call: it counts once for each of its tags or guards."""

_COLUMNS_BY_NAME: Final = {"user": "end_user"}
"""The columns whose names differ: in PostgreSQL `user` is the role of the connection."""

FILTER_NAMES: Final = (*GROUP_BY_NAMES, "id", "status", "conversation")
"""Names to filter calls by."""

SLOT: Final = "slot"
"""The name of a group's slot in a series."""
TIME_NAMES: Final = ("day", SLOT)

type Filters = Mapping[str, Collection[str]]
"""Values by name (of FILTER_NAMES); a matching call has one of the values for each name."""


class QueryGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the calls that share the same names. None is unknown, never zero."""

    names: tuple[str | None, ...]
    """The values in the order of `by`; a day is YYYY-MM-DD; None if the calls have no value."""
    calls: int
    """The number of final rows, in every state."""
    cached: int
    """The number of calls answered from the cache; they cost nothing."""
    failed: int
    """The number of calls without an answer: failed, refused, or lost in a crash."""
    input: int | None
    """Input tokens that were neither read from a prompt cache nor written to it. All five token
    sums are usage at providers: answers from the cache add nothing."""
    cache_read: int | None
    cache_write: int | None
    output: int | None
    reasoning: int | None
    cost: Decimal | None
    """USD of the calls with a known cost; None if there is none. The same holds for the sums
    below."""
    wasted: Decimal | None = None
    """USD of `cost` for attempts that gave no answer."""
    estimate: Decimal | None = None
    """USD of `cost` that rest on estimated tokens."""
    baseline: Decimal | None = None
    """USD that the calls would have cost on the baseline, for those with both amounts known."""
    saved: Decimal | None = None
    """USD of `baseline` minus the cost of these calls and of failed calls."""
    reserved: Decimal | None = None
    """USD that the calls may have cost beyond `cost` at most, as far as there is a bound."""
    unknown: int
    """The number of calls that were or may have been billed, and whose whole cost is unknown."""
    retried: int = 0
    """The number of calls that a later attempt answered."""


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
"""Columns that `build_group` reads after the names and before MONEY."""


@dataclass(frozen=True, slots=True)
class SqlDialect:
    """The SQL in which a database differs from the others."""

    placeholder: str
    """The placeholder of a value."""
    bind_texts: Callable[[list[str]], object]
    """Binds several texts as one value."""
    membership_test: str
    """A condition: the column `{}` is one of several texts."""
    list_test: str
    """A condition: the list in the column `{}` contains one of several texts."""
    list_join: str
    """A join of each call with the texts of `{column}`, one row `{name}.value` for each."""

    def build_expressions(self, by: Sequence[str]) -> dict[str, str]:
        """Return an expression for each name to group by, except for the time."""
        return {
            name: f"{name}.value" if name in LIST_COLUMNS_BY_NAME else f"c.{find_column(name)}"
            for name in by
        }

    def build_joins(self, by: Sequence[str]) -> str:
        """Return the joins of each call with the lists to group by."""
        return " ".join(
            self.list_join.format(column=f"c.{column}", name=name)
            for name, column in LIST_COLUMNS_BY_NAME.items()
            if name in by
        )


def find_column(name: str) -> str:
    """Return the column of a name to group or filter calls by."""
    return LIST_COLUMNS_BY_NAME.get(name) or _COLUMNS_BY_NAME.get(name, name)


def check_names(
    by: Sequence[str], only: Filters | None, slots: "Slots | None" = None
) -> Sequence[str]:
    """Raise ValueError for a name that calls cannot be grouped or filtered by.

    Returns all names to group by; for a series the slot is the last.
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
    """Return an SQL condition that selects calls in the table c, and its values."""
    conditions = ["true"]
    values: list[object] = []
    for operator, moment in ((">=", since), ("<", until)):
        if moment is not None:
            conditions.append(f"c.at {operator} {dialect.placeholder}")
            values.append(moment)
    for name, accepted_values in (only or {}).items():
        if name == "day":
            spans = [span for text in accepted_values if (span := find_day(text, zone))]
            day_condition = f"c.at >= {dialect.placeholder} AND c.at < {dialect.placeholder}"
            conditions.append(f"({' OR '.join([day_condition] * len(spans)) or 'false'})")
            values.extend(moment for span in spans for moment in span)
        else:
            column = "CAST(c.status AS TEXT)" if name == "status" else f"c.{find_column(name)}"
            list_column = LIST_COLUMNS_BY_NAME.get(name)
            conditions.append(
                dialect.membership_test.format(column)
                if list_column is None
                else dialect.list_test.format(f"c.{list_column}")
            )
            values.append(dialect.bind_texts(list(accepted_values)))
    return " AND ".join(conditions), values


class Slots:
    """Adjacent spans of time; `find_position` returns the position in `names`, from 1 on."""

    def __init__(self, names: list[str], starts: list[float]) -> None:
        self.names = names
        self.starts = starts

    def find_position(self, timestamp: float) -> int:
        """Return how many slots have begun at a moment."""
        return bisect_right(self.starts, timestamp)


class Days(Slots):
    """The days of a zone between two moments."""

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
    """Return the names at the beginning of a database row."""
    return tuple(
        slots.names[value - 1] if slots is not None and name in TIME_NAMES else value
        for name, value in zip(by, row, strict=False)
    )


def build_group(by: Sequence[str], row: Sequence[Any], slots: Slots | None) -> QueryGroup:
    """Build a group from a database row: the names of `by`, SUM_COLUMNS, and the six of MONEY."""
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
    """Return a sort key for groups: days in order, then the highest cost first, then names."""
    time_indexes = [index for index, name in enumerate(by) if name in TIME_NAMES]

    def key(group: QueryGroup) -> tuple[object, ...]:
        names = [(name is None, name or "") for name in group.names]
        cost_order = (group.cost is None, -(group.cost or 0))
        return ([names[index] for index in time_indexes], *cost_order, names)

    return key


def find_day(text: str, zone: tzinfo) -> tuple[float, float] | None:
    """Return the beginning and the end of a day, YYYY-MM-DD; None for another text."""
    try:
        day = date.fromisoformat(text)
        return find_midnight(day, zone), find_midnight(day + timedelta(days=1), zone)
    except (ValueError, OverflowError):  # no day, so no call was received on it
        return None


def find_midnight(day: date, zone: tzinfo) -> float:
    """Return the beginning of a day; if clocks skip midnight, the moment at which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
