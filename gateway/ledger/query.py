"""Questions to the store: calls, tokens and exact cost by tier, lab, model, key, day and others."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Context, Decimal
from typing import Any, Final, cast

import msgspec

from gateway.core import jsonio
from gateway.ledger.store import Store

BY: Final = {
    "tier": "costs.tier",
    "lab": "costs.lab",
    "model": "costs.model",
    "provider": "costs.provider",
    "key": "costs.key",
    "tag": "tag.value",
    "day": "day(costs.at)",
}
"""What calls can be grouped by. By `tag`, a call counts once for each of its tags."""

# Sums are exact: 28 digits, the default, would round a large sum of very small costs.
_EXACT = Context(prec=100)

# Offsets of all zones have been whole quarters of an hour since 1972.
_QUARTER = 900

_TOKENS = ("input", "cache_read", "cache_write", "output", "reasoning")


class Group(msgspec.Struct, frozen=True, kw_only=True):
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
    """USD of the calls whose cost is known; None where there is none."""
    unknown: int
    """Calls that were, or may have been, billed, and whose cost is not known."""


def costs(
    store: Store,
    by: Sequence[str] = (),
    *,
    since: float | None = None,
    until: float | None = None,
    zone: tzinfo = UTC,
    only: Mapping[str, Collection[str]] | None = None,
) -> list[Group]:
    """Calls received from `since` on and before `until`, seconds since the epoch, grouped.

    With an empty `by` there is one group, whatever there is. Days are those of `zone`.
    `only` keeps calls that have one of the names given for each. Days come in order, and within
    them, or without them, what cost most comes first. Raises ValueError for a name not in BY.
    """
    chosen = only or {}
    if strange := sorted({*by, *chosen} - BY.keys()):
        raise ValueError(f"cannot group by {strange[0]}: it is one of {', '.join(BY)}")
    names = [BY[name] for name in by]
    tests = {"costs.at >= ?": since, "costs.at < ?": until}
    where = [test for test, value in tests.items() if value is not None]
    values: list[object] = [value for value in tests.values() if value is not None]
    for name, wanted in chosen.items():
        where.append(_TAGGED if name == "tag" else f"{BY[name]} IN {_WANTED}")
        values.append(jsonio.dumps(list(wanted)).decode())
    sql = " ".join(
        [
            f"SELECT {', '.join([*names, *_SUMS])} FROM costs",  # noqa: S608 - names of BY only
            "LEFT JOIN json_each(costs.tags) AS tag" if "tag" in by else "",
            f"WHERE {' AND '.join(where)}" if where else "",
            f"GROUP BY {', '.join(names)}" if names else "",
        ]
    )
    with store.reading() as base:
        base.create_function("day", 1, _days(zone), deterministic=True)
        # Any: the stub of sqlite3 knows aggregates of whole numbers only.
        base.create_aggregate("usd", 1, cast("Any", _Sum))
        found = [_group(row, len(by)) for row in base.execute(sql, values)]
    return sorted(found, key=_order(by))


_WANTED = "(SELECT value FROM json_each(?))"
_TAGGED = f"EXISTS (SELECT 1 FROM json_each(costs.tags) WHERE value IN {_WANTED})"  # noqa: S608
_SUMS = (
    "count(*)",
    "total(costs.state = 'cache_hit')",
    "total(costs.state IN ('failed', 'refused', 'unknown_crash'))",
    "sum(costs.input)",
    "sum(costs.cache_read)",
    "sum(costs.cache_write)",
    "sum(costs.output)",
    "sum(costs.reasoning)",
    "usd(costs.cost)",
    "total(costs.unknown)",
)


class _Sum:
    """The SQL aggregate `usd`: an exact sum of decimal texts; NULL where there is none."""

    def __init__(self) -> None:
        self.total: Decimal | None = None

    def step(self, cost: str | None) -> None:
        if cost is not None:
            value = Decimal(cost)
            self.total = value if self.total is None else _EXACT.add(self.total, value)

    def finalize(self) -> str | None:
        return None if self.total is None else format(self.total, "f")


def _days(zone: tzinfo) -> Callable[[float], str]:
    """The SQL function `day`: the date of a moment in a zone, looked up once a quarter hour."""
    known: dict[int, str] = {}

    def day(at: float) -> str:
        quarter = int(at // _QUARTER)
        found = known.get(quarter)
        if found is None:
            moment = datetime.fromtimestamp(quarter * _QUARTER, zone)
            found = known[quarter] = moment.date().isoformat()
        return found

    return day


def _group(row: tuple[Any, ...], width: int) -> Group:
    calls, cached, failed, *tokens, cost, unknown = row[width:]
    return Group(
        names=row[:width],
        calls=calls,
        cached=int(cached),
        failed=int(failed),
        **dict(zip(_TOKENS, tokens, strict=True)),
        cost=None if cost is None else Decimal(cost),
        unknown=int(unknown),
    )


def _order(by: Sequence[str]) -> Callable[[Group], tuple[object, ...]]:
    days = [place for place, name in enumerate(by) if name == "day"]

    def key(group: Group) -> tuple[object, ...]:
        dear = -1 if group.cost is None else group.cost
        names = [(name is None, name or "") for name in group.names]
        return ([names[place] for place in days], -dear, names)

    return key
