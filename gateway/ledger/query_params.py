"""Parse a ledger query from the command line or a URL."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.ledger.call_order import NEWEST_FIRST, SORT_NAMES, CallOrder
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query import FILTER_NAMES, GROUP_BY_NAMES
from gateway.state.audit import AuditQuery

_UNSTORABLE_PATTERN = re.compile("[\0\ud800-\udfff]")
"""Characters that no text in a store contains, and that some stores refuse in queries."""
_MAX_SEARCH_SECONDS = 90_000
"""The longest time that a search covers: a day on which clocks go back has 25 hours."""
_DEFAULT_SEARCH_SECONDS = 86_400
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class LedgerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The filters of calls, and their grouping."""

    by: tuple[str, ...] = ()
    since: float | None = None
    """Seconds since the epoch."""
    until: float | None = None
    zone: str = "UTC"
    only: Mapping[str, Sequence[str]] = {}

    @property
    def time_zone(self) -> tzinfo:
        """The time zone of days."""
        return load_time_zone(self.zone)

    @property
    def selection(self) -> dict[str, Any]:
        """The filters as arguments of the store's query methods."""
        return {"since": self.since, "until": self.until, "only": self.only}


def parse_query(
    by: Iterable[str] = (),
    *,
    since: str = "",
    until: str = "",
    only: Iterable[str] = (),
    zone: str = "UTC",
    now: float,
) -> LedgerQuery:
    """Parse a query. Names may be repeated or separated by commas. Raises LedgerQueryError."""
    time_zone = load_time_zone(zone)
    return LedgerQuery(
        by=_parse_names(by),
        since=parse_moment(since, now, time_zone, parameter="since") if since else None,
        until=parse_moment(until, now, time_zone, end=True, parameter="until") if until else None,
        zone=zone,
        only=_parse_filters(only),
    )


def parse_audit_query(
    *, since: str, until: str, who: str, act: str, subject: str, zone: str, now: float
) -> AuditQuery:
    """Parse a query for rows of the audit; an empty text does not filter.

    Raises LedgerQueryError.
    """
    time_zone = load_time_zone(zone)
    return AuditQuery(
        since=parse_moment(since, now, time_zone, parameter="since") if since else -math.inf,
        until=parse_moment(until, now, time_zone, end=True, parameter="until")
        if until
        else math.inf,
        who=who,
        act=act,
        subject=subject,
    )


def parse_moment(
    text: str, now: float, zone: tzinfo, *, end: bool = False, parameter: str = ""
) -> float:
    """Return seconds since the epoch for 7d (ago), a date, or a date and time in a zone.

    A time with an offset of its own ignores `zone`. A date is its first moment, or with `end` the
    first moment of the next day. Raises LedgerQueryError.
    """
    try:
        if match := re.fullmatch(r"(\d+)([smhdw])", text):
            return now - int(match[1]) * _UNIT_SECONDS[match[2]]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text) + timedelta(days=end)
            return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
            return float(text)
        date_time = datetime.fromisoformat(text)
        return (date_time if date_time.tzinfo else date_time.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        message = f"{text[:80]!r} is no time: write 24h, 7d, 2026-11-01 or 2026-11-01T09:30"
        raise LedgerQueryError(parameter, message) from None


def parse_order(text: str) -> CallOrder:
    """Return the order of a `sort` parameter, as `cost` or `-cost`. Raises LedgerQueryError."""
    if not text:
        return NEWEST_FIRST
    name = text.removeprefix("-")
    if name not in SORT_NAMES:
        message = f"{text[:80]!r} is none of {', '.join(SORT_NAMES)}, with - before it for the"
        raise LedgerQueryError("sort", f"{message} highest first")
    return CallOrder(name, text != name)


def limit_search(query: LedgerQuery, now: float) -> LedgerQuery:
    """Return a query of at most a day of calls, by default the last one. Raises LedgerQueryError.

    Such a query reads each call of its time.
    """
    until = now if query.until is None else min(query.until, now)
    since = until - _DEFAULT_SEARCH_SECONDS if query.since is None else query.since
    if until - since > _MAX_SEARCH_SECONDS:
        message = "a search, and each order but that of receipt, covers at most a day: set `since`"
        raise LedgerQueryError("since", f"{message} and `until` at most 25 hours apart")
    return msgspec.structs.replace(query, since=since)


def load_time_zone(zone: str) -> tzinfo:
    """Return a time zone by its name. Raises LedgerQueryError."""
    if zone == "UTC":  # known without a time zone database
        return UTC
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise LedgerQueryError("zone", f"there is no time zone {zone[:80]!r}") from None


def is_storable(text: str) -> bool:
    """True if a store can contain this text."""
    return _UNSTORABLE_PATTERN.search(text) is None


def _parse_names(by: Iterable[str]) -> tuple[str, ...]:
    names = [name.strip() for text in by for name in text.split(",") if name.strip()]
    for name in names:
        if name not in GROUP_BY_NAMES:
            raise LedgerQueryError("by", f"{name[:80]!r} is none of {', '.join(GROUP_BY_NAMES)}")
    return tuple(dict.fromkeys(names))


def _parse_filters(texts: Iterable[str]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for text in texts:
        name, _, value = re.sub("[:=]", "\0", text, count=1).partition("\0")
        if name not in FILTER_NAMES or not value:
            message = f"{text[:80]!r} is not NAME=VALUE with one of {', '.join(FILTER_NAMES)}"
            raise LedgerQueryError("only", message)
        if not is_storable(value):
            raise LedgerQueryError("only", f"{text[:80]!r} has a character that no value has")
        filters.setdefault(name, []).append(value)
    return filters
