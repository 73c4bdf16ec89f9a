"""What `tiergate top` shows: figures of the last while, from a gateway that runs or the ledger."""

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway.cli import running
from gateway.cli.books import opened
from gateway.cli.session import Session
from gateway.ledger import export
from gateway.ledger.query import Group
from gateway.ledger.times import Spread, Times
from gateway.upstream.client import read_url

WINDOWS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "24h": 86_400}
"""Whiles, in seconds."""
BY = ("tier", "lab", "model", "provider", "key", "tenant", "tag", "rule")
"""What calls can be shown by."""
_IN_FLIGHT = b"tiergate_calls_in_flight "
_HOUR = 3_600


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one name; None is unknown."""

    name: str
    calls: int
    failed: int
    cached: int
    usd: Decimal | None
    """Of the calls whose cost is known."""
    unknown: int
    """Calls whose cost is not."""
    per_second: float
    usd_per_hour: Decimal | None
    p50: float | None
    """Seconds of a whole answer."""
    p95: float | None
    first_p50: float | None
    """Seconds to the first content."""
    first_p95: float | None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How one stands."""

    name: str
    scope: str
    """The calls that it counts: "all tenants" or "key ann"."""
    used: Decimal
    limit: Decimal
    every: str
    kind: str


class Out(msgspec.Struct, frozen=True, kw_only=True):
    """A target or an account that is not asked now."""

    name: str
    state: str
    cause: str | None
    until: float | None
    """Seconds since the epoch."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    at: float
    source: str
    """The URL of a gateway, or the ledger's place."""
    running: bool
    """Whether it is of a gateway that runs."""
    window: int
    """Seconds that it looks back."""
    by: str
    total: Row
    rows: list[Row]
    in_flight: int | None
    """Calls that are being served; None where nobody says."""
    budgets: list[Budget]
    out: list[Out]


def plain(sight: Sight) -> dict[str, Any]:
    """As JSON has it; money as text."""

    def told(value: object) -> Any:
        if isinstance(value, Decimal):
            return export.exact(value)
        if isinstance(value, msgspec.Struct):
            return {name: told(getattr(value, name)) for name in value.__struct_fields__}
        return [told(one) for one in value] if isinstance(value, list) else value

    found: dict[str, Any] = told(sight)
    return found


def look(
    session: Session, base: str, by: str, window: str, clock: Callable[[], float] = time.time
) -> Sight:
    """At the gateway, or at the ledger where none answers.

    Raises click.ClickException: it wants an admin key, or the ledger cannot be read.
    """
    query = urlencode({"by": by, "since": window})
    costs = running.read(session, f"{base}/admin/costs?{query}")
    if costs is None:
        return _ledger(session, by, window, clock())
    times = running.read(session, f"{base}/admin/latency?{query}") or {}
    budgets = running.read(session, f"{base}/admin/budgets") or {}
    health = running.read(session, f"{base}/admin/health") or {}
    return Sight(
        at=clock(),
        source=base,
        running=True,
        window=WINDOWS[window],
        by=by,
        total=_told("total", costs["total"], times.get("total") or {}, WINDOWS[window]),
        rows=_rows(costs["groups"], times.get("totals") or [], by, WINDOWS[window]),
        in_flight=_in_flight(session, base),
        budgets=[_budget(one) for one in budgets.get("budgets", ())],
        out=[*_out(health.get("targets", ())), *_out(health.get("accounts", ()))],
    )


def _in_flight(session: Session, base: str) -> int | None:
    found = read_url(f"{base}/metrics", session.environ.get("TIERGATE_ADMIN_KEY", "").strip())
    lines = found[1].splitlines() if found is not None else ()
    told = next((line for line in lines if line.startswith(_IN_FLIGHT)), None)
    return None if told is None else int(float(told.removeprefix(_IN_FLIGHT)))


def _rows(
    groups: Sequence[dict[str, Any]], times: Sequence[dict[str, Any]], by: str, window: int
) -> list[Row]:
    spreads = {one.get(by): one for one in times}
    return [_told(one[by] or "-", one, spreads.get(one[by], {}), window) for one in groups]


def _told(name: str, group: Mapping[str, Any], times: Mapping[str, Any], window: int) -> Row:
    cost = None if group["cost"] is None else Decimal(group["cost"])
    whole, first = times.get("duration") or {}, times.get("first_content") or {}
    return Row(
        name=name,
        calls=group["calls"],
        failed=group["failed"],
        cached=group["cached"],
        usd=cost,
        unknown=group["unknown"],
        per_second=group["calls"] / window,
        usd_per_hour=None if cost is None else cost * _HOUR / window,
        p50=whole.get("p50"),
        p95=whole.get("p95"),
        first_p50=first.get("p50"),
        first_p95=first.get("p95"),
    )


def _budget(one: Mapping[str, Any]) -> Budget:
    return Budget(
        name=one["name"],
        scope=one["scope"],
        used=Decimal(one["used"]),
        limit=Decimal(one["limit"]),
        every=one["every"],
        kind=one["kind"],
    )


def _out(places: Sequence[Mapping[str, Any]]) -> list[Out]:
    return [
        Out(
            name=f"{one['provider']}/{one.get('model') or one['account']}",
            state=one["state"],
            cause=one["cause"],
            until=one["until"],
        )
        for one in places
        if one["state"] != "closed"
    ]


def _ledger(session: Session, by: str, window: str, now: float) -> Sight:
    books, seconds = session(), WINDOWS[window]
    since = now - seconds
    groups: list[Group] = []
    times: list[Times] = []
    whole: list[Group] = []
    spread: list[Times] = []
    with opened(books) as store:
        if store is not None:
            groups, times = store.costs((by,), since=since), store.times((by,), since=since)
            whole, spread = store.costs((), since=since), store.times((), since=since)
    spreads = {one.names[0]: one for one in times}
    rows = [_summed(one.names[0] or "-", one, spreads.get(one.names[0]), seconds) for one in groups]
    return Sight(
        at=now,
        source=str(books.journal_folder),
        running=False,
        window=seconds,
        by=by,
        total=_summed("total", whole[0] if whole else None, spread[0] if spread else None, seconds),
        rows=rows,
        in_flight=None,
        budgets=[],
        out=[],
    )


def _summed(name: str, group: Group | None, times: Times | None, window: int) -> Row:
    told = {"calls": 0, "failed": 0, "cached": 0, "unknown": 0, "cost": None}
    if group is not None:
        told = {name: getattr(group, name) for name in told}

    def spread(one: Spread | None) -> dict[str, float]:
        return {} if one is None else {"p50": one.p50, "p95": one.p95}

    found: dict[str, dict[str, float]] = {}
    if times is not None:
        found = {"duration": spread(times.duration), "first_content": spread(times.first_content)}
    return _told(name, told, found, window)
