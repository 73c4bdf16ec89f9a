"""Questions to the store: what calls can be grouped by, what a group adds up, and its days."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

import msgspec

BY: Final = (
    *("tier", "lab", "model", "provider", "key", "tenant", "tag", "day", "rule", "state"),
    *("source", "account", "cache", "problem", "config", "dialect", "served"),
)
"""What calls can be grouped by. By `tag`, a call counts once for each of its tags."""

ONLY: Final = (*BY, "id", "status", "conversation")
"""What calls can be chosen by."""

SLOT: Final = "slot"
"""The name of a group's place in a series."""
TIMES: Final = ("day", SLOT)

type Only = Mapping[str, Collection[str]]
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

SUMS: Final = (
    "count(*)",
    "count(*) FILTER (WHERE state = 'cache_hit')",
    "count(*) FILTER (WHERE state IN ('failed', 'refused', 'unknown_crash'))",
    "count(*) FILTER (WHERE unknown)",
    "count(*) FILTER (WHERE attempts > 1 AND state IN ('settled', 'estimated', 'aborted'))",
    *(f"sum({name})" for name in TOKENS),
)
"""What `group` reads after the names, and before MONEY."""


@dataclass(frozen=True, slots=True)
class SqlDialect:
    """How a database says what the others say differently."""

    mark: str
    """The place of a value."""
    many: Callable[[list[str]], object]
    """Several texts as one value."""
    among: str
    """A test that a column `{}` is one of several texts."""
    tagged: str
    """A test that one of several texts is among the tags."""
    tags: str
    """What joins each call with its tags, a row `tag.value` each."""


def check(by: Sequence[str], only: Only | None, slots: "Slots | None" = None) -> Sequence[str]:
    """Raise ValueError for a name that calls cannot be grouped or chosen by.

    Returns all that they are grouped by: a series by its slots last.
    """
    for names, known in ((by, BY), (only or {}, ONLY)):
        if strange := sorted(set(names) - set(known)):
            raise ValueError(f"cannot group by {strange[0]}: it is one of {', '.join(known)}")
    if slots is None:
        return by
    if "day" in by:
        raise ValueError("a series is of its slots: it cannot be grouped by day")
    return (*by, SLOT)


def where(
    words: SqlDialect,
    *,
    since: float | None,
    until: float | None,
    only: Only | None,
    zone: tzinfo = UTC,
) -> tuple[str, list[object]]:
    """The condition of a choice of calls, in a table that is called c, and its values."""
    tests = ["true"]
    values: list[object] = []
    for sign, moment in ((">=", since), ("<", until)):
        if moment is not None:
            tests.append(f"c.at {sign} {words.mark}")
            values.append(moment)
    for name, wanted in (only or {}).items():
        if name == "day":
            spans = [span for text in wanted if (span := _span(text, zone))]
            one = f"c.at >= {words.mark} AND c.at < {words.mark}"
            tests.append(f"({' OR '.join([one] * len(spans)) or 'false'})")
            values.extend(moment for span in spans for moment in span)
        else:
            column = "CAST(c.status AS TEXT)" if name == "status" else f"c.{name}"
            tests.append(words.tagged if name == "tag" else words.among.format(column))
            values.append(words.many(list(wanted)))
    return " AND ".join(tests), values


class Slots:
    """Stretches of time side by side; `place` is where a moment is in `names`, from 1 on."""

    def __init__(self, names: list[str], starts: list[float]) -> None:
        self.names = names
        self.starts = starts

    def place(self, at: float) -> int:
        """How many of them have begun at a moment."""
        return bisect_right(self.starts, at)


class Days(Slots):
    """The days of a zone from one moment to another."""

    def __init__(self, zone: tzinfo, first: float, last: float) -> None:
        day = datetime.fromtimestamp(first, zone).date() - timedelta(days=1)
        end = datetime.fromtimestamp(last, zone).date() + timedelta(days=1)
        found = [day + timedelta(days=count) for count in range((end - day).days + 1)]
        super().__init__([one.isoformat() for one in found], [midnight(one, zone) for one in found])


def named(by: Sequence[str], row: Sequence[Any], slots: Slots | None) -> tuple[str | None, ...]:
    """The names that a row of a database begins with."""
    return tuple(
        slots.names[value - 1] if slots is not None and name in TIMES else value
        for name, value in zip(by, row, strict=False)
    )


def group(by: Sequence[str], row: Sequence[Any], slots: Slots | None) -> QueryGroup:
    """A row of a database: the names of `by`, SUMS, and the six of MONEY."""
    calls, cached, failed, unknown, retried, *sums = row[len(by) :]
    sums[: len(TOKENS)] = [None if n is None else int(n) for n in sums[: len(TOKENS)]]
    fields: dict[str, Any] = dict(zip((*TOKENS, *MONEY), sums, strict=True))
    return QueryGroup(
        names=named(by, row, slots),
        calls=calls,
        cached=cached,
        failed=failed,
        unknown=unknown,
        retried=retried,
        **fields,
    )


def order(by: Sequence[str]) -> Callable[[QueryGroup], tuple[object, ...]]:
    """A key that sorts groups: days in order, then what cost most first, then names."""
    days = [place for place, name in enumerate(by) if name in TIMES]

    def key(group: QueryGroup) -> tuple[object, ...]:
        names = [(name is None, name or "") for name in group.names]
        dear = (group.cost is None, -(group.cost or 0))
        return ([names[place] for place in days], *dear, names)

    return key


def _span(text: str, zone: tzinfo) -> tuple[float, float] | None:
    try:
        day = date.fromisoformat(text)
        return midnight(day, zone), midnight(day + timedelta(days=1), zone)
    except (ValueError, OverflowError):  # no day, so nothing was received on it
        return None


def midnight(day: date, zone: tzinfo) -> float:
    """When a day begins: where clocks skip midnight, the moment at which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
