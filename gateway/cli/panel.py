"""How `tiergate top` draws what it sees: lines of a terminal, none longer than it is wide."""

from collections.abc import Callable
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import NamedTuple

import click

from gateway.cli.sight import BY, Out, Row, Sight
from gateway.ledger.cell import plain

SORTS = ("calls", "cost", "p95", "failed", "name")
_BAR = 16
_FULL, _NEAR = Decimal(1), Decimal("0.8")
_NARROW = 24
"""Columns of a name at least."""
_SECONDS, _MINUTES = 10, 100


class Wanted(NamedTuple):
    """How it is to be shown."""

    sort: str = "cost"
    paused: bool = False
    first: int = 0
    """The row that stands first, where not all have room."""


class _Column(NamedTuple):
    head: str
    width: int
    cell: Callable[[Row], str]


def lines(sight: Sight, wanted: Wanted, size: tuple[int, int], zone: tzinfo) -> list[str]:
    """The lines of a screen of so many columns and rows, with colours."""
    width, height = size
    head = _head(sight, wanted, width, zone)
    foot = [*_foot(sight, width, zone), _keys(width)]
    room = max(1, height - len(head) - len(foot) - 2)
    rows = ordered(sight, wanted.sort)
    first = max(0, min(wanted.first, len(rows) - room))
    kept = _fitting(width)
    table = [_style(_line(sight.by, [one.head for one in kept], kept, width), bold=True)]
    for row in rows[first : first + room]:
        text = _line(row.name, [one.cell(row) for one in kept], kept, width)
        table.append(_style(text, fg="red") if row.failed * 2 > row.calls else text)
    if not rows:
        table.append(_style("No calls.", dim=True))
    more = len(rows) - first - room
    gap = [_style(f"{more} more, press down", dim=True)] if more > 0 else [""]
    space = [""] * max(0, height - len(head) - len(table) - len(gap) - len(foot))
    return [*head, *table, *gap, *space, *foot][:height]


def ordered(sight: Sight, sort: str) -> list[Row]:
    """Rows, those of the most first; by name they are in its order."""
    keys: dict[str, Callable[[Row], float]] = {
        "calls": lambda row: row.calls,
        "cost": lambda row: float(row.usd or 0),
        "p95": lambda row: row.p95 or 0.0,
        "failed": lambda row: row.failed / row.calls if row.calls else 0.0,
    }
    if sort == "name":
        return sorted(sight.rows, key=lambda row: row.name)
    return sorted(sight.rows, key=keys[sort], reverse=True)


def _head(sight: Sight, wanted: Wanted, width: int, zone: tzinfo) -> list[str]:
    total, at = sight.total, datetime.fromtimestamp(sight.at, zone)
    where = sight.source if sight.running else f"no gateway answers; {sight.source}"
    paused = "  paused" if wanted.paused else ""
    flight = "" if sight.in_flight is None else f"   in flight {sight.in_flight}"
    unknown = f" ({total.unknown} unknown)" if total.unknown else ""
    return [
        _style(_cut(f"tiergate  {where}  {at:%H:%M:%S}{paused}", width), bold=True),
        _cut(
            f"last {_span(sight.window)}   calls {total.calls:,} ({_rate(total.per_second)}/s)"
            f"{flight}   USD/h {_usd(total)}{unknown}",
            width,
        ),
        _cut(
            f"answers p50 {_time(total.p50)} p95 {_time(total.p95)}   first "
            f"p50 {_time(total.first_p50)} p95 {_time(total.first_p95)}   failed "
            f"{_share(total.failed, total.calls)}   cached {_share(total.cached, total.calls)}",
            width,
        ),
        "",
    ]


def _foot(sight: Sight, width: int, zone: tzinfo) -> list[str]:
    found = []
    fullest = sorted(sight.budgets, key=lambda one: one.used / (one.limit or 1), reverse=True)
    for one in fullest[:3]:
        share = one.used / one.limit if one.limit else Decimal(1)
        full = min(_BAR, int(share * _BAR))
        bar = "#" * full + "." * (_BAR - full)
        unit = f" of {one.limit:f} USD" if one.kind == "usd" else f" of {one.limit:f}"
        used = f"{one.used:.2f}{unit} this {one.every}"
        text = _cut(f"budget {one.name} ({one.scope})  [{bar}] {share:.0%}  {used}", width)
        color = "red" if share >= _FULL else "yellow" if share >= _NEAR else None
        found.append(_style(text, fg=color) if color else text)
    found += [_style(_cut(_told(one, sight.at, zone), width), fg="yellow") for one in sight.out[:3]]
    if len(sight.out) > 3:
        found.append(_style(f"{len(sight.out) - 3} more are out", fg="yellow"))
    return found


def _told(one: Out, at: float, zone: tzinfo) -> str:
    cause = f" ({one.cause})" if one.cause else ""
    until = ""
    if one.until is not None and one.until > at:
        until = f" until {datetime.fromtimestamp(one.until, zone):%H:%M:%S}"
    return f"out    {one.name} is {one.state}{cause}{until}"


def _keys(width: int) -> str:
    told = f"q quit  p pause  s sort  w window  left/right by {', '.join(BY)}  up/down"
    return _style(_cut(told, width), dim=True)


def _fitting(width: int) -> list[_Column]:
    """The columns that have room beside a name."""
    kept: list[_Column] = []
    room = width - _NARROW
    for one in _COLUMNS:
        if room < one.width:
            break
        kept.append(one)
        room -= one.width
    return kept


def _line(name: str, cells: list[str], kept: list[_Column], width: int) -> str:
    room = width - sum(one.width for one in kept)
    numbers = "".join(f"{cell:>{one.width}}" for cell, one in zip(cells, kept, strict=True))
    return f"{_cut(name, room - 1):<{room}}{numbers}"


def _cut(text: str, width: int) -> str:
    shown = plain(text)
    return shown if len(shown) <= width else f"{shown[: max(0, width - 1)]}~"[:width]


def _style(text: str, **how: bool | str) -> str:
    return click.style(text, **how)  # type: ignore[arg-type]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= _MINUTES else f"{value:.2f}"


def _usd(row: Row) -> str:
    if row.usd_per_hour is None:
        return "?" if row.unknown else "-"
    return f"{row.usd_per_hour:,.2f}" if row.usd_per_hour >= 1 else f"{row.usd_per_hour:.4f}"


def _time(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f}ms"
    return f"{value:.1f}s" if value < _SECONDS else f"{value:.0f}s"


def _share(part: int, whole: int) -> str:
    return "-" if not whole else f"{100 * part / whole:.1f}%"


def _span(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3_600 else f"{seconds // 60} min"


_COLUMNS = (
    _Column("calls/s", 9, lambda row: _rate(row.per_second)),
    _Column("USD/h", 10, _usd),
    _Column("p50", 7, lambda row: _time(row.p50)),
    _Column("p95", 7, lambda row: _time(row.p95)),
    _Column("first", 7, lambda row: _time(row.first_p50)),
    _Column("failed", 7, lambda row: _share(row.failed, row.calls)),
    _Column("cached", 7, lambda row: _share(row.cached, row.calls)),
)
