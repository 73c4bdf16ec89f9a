"""The command `costs`: what calls cost, by tier, lab, model, provider, key, tag or day."""

import csv
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import click
import msgspec

from gateway.cli.table import Column, draw, number, plain, usd
from gateway.core import jsonio
from gateway.ledger.query import BY, Group
from gateway.ledger.query import costs as ask
from gateway.ledger.store import Store, StoreError

_SPANS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NUMBERS = tuple(name for name in Group.__struct_fields__ if name != "names")
_FORMULA = ("=", "+", "-", "@")
"""What begins a formula in a spreadsheet; such a name gets an apostrophe in front."""
_ALWAYS = ("calls", "cached", "input", "output", "cost")  # the others where they say something
_NOTHING = Group(
    names=(),
    calls=0,
    cached=0,
    failed=0,
    input=None,
    cache_read=None,
    cache_write=None,
    output=None,
    reasoning=None,
    cost=None,
    unknown=0,
)


class Ledger(Protocol):
    """Where the ledger is: what the command needs to know of a configuration."""

    @property
    def store_path(self) -> Path:
        """The SQLite file."""

    @property
    def journal_folder(self) -> Path:
        """The folder of the journals' segments."""

    @property
    def time_zone(self) -> str:
        """The zone of days, unless another is asked for."""


def _names(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[str]:
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BY:
            raise click.BadParameter(f"{name!r} is none of {', '.join(BY)}")
    return list(dict.fromkeys(names)) or ["tier"]


def _only(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, list[str]]:
    only: dict[str, list[str]] = {}
    for text in given:
        name, _sign, value = text.partition("=")
        if name not in BY or not value:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE with one of {', '.join(BY)}")
        only.setdefault(name, []).append(value)
    return only


@click.command
@click.option(
    "--by", multiple=True, callback=_names, help=f"{', '.join(BY)}; repeat it, or use commas."
)
@click.option("--since", help="From: 90m, 24h, 7d, 4w ago, a date or a date and time.")
@click.option("--until", help="To: as above; a date is included.")
@click.option("--only", multiple=True, callback=_only, help="Only calls with NAME=VALUE.")
@click.option("--zone", help="Time zone of days and dates, as Europe/Berlin.")
@click.option("--json", "form", flag_value="json", help="JSON, with exact decimals as strings.")
@click.option("--csv", "form", flag_value="csv", help="CSV, with exact decimals.")
@click.pass_obj
def costs(
    load: Callable[[], Ledger],
    by: list[str],
    since: str | None,
    until: str | None,
    only: dict[str, list[str]],
    zone: str | None,
    form: str | None,
) -> None:
    """Show what calls cost.

    A name that a spreadsheet would take for a formula has an apostrophe before it in CSV. An empty
    cell of CSV and a null of JSON are unknown: never read them as 0. JSON has the keys
    since, until (seconds since the epoch or null), zone, by, groups and total; a group has the
    names of --by and calls, cached, failed, input, cache_read, cache_write, output, reasoning
    (tokens), cost (USD) and unknown, the number of calls whose cost is not known.
    """
    ledger = load()
    name = zone or ledger.time_zone
    place = _zone(name)
    now = time.time()
    start = None if since is None else moment(since, now, place)
    end = None if until is None else moment(until, now, place, end=True)
    try:
        groups, total = _ask(ledger, by, since=start, until=end, zone=place, only=only)
    except (OSError, sqlite3.Error, StoreError) as error:
        raise click.ClickException(f"the ledger cannot be read: {error}") from error
    if form == "json":
        period = {"since": start, "until": end, "zone": name, "by": by}
        found = {"groups": [_plain(group, by) for group in groups], "total": _plain(total, [])}
        click.echo(jsonio.dumps({**period, **found}).decode())
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*by, *_NUMBERS])
        for group in groups:
            row = _plain(group, by)
            writer.writerow([*(_cell_of(row.pop(name)) for name in by), *row.values()])
    elif total.calls:
        _show(groups, total, by)
    else:
        click.echo("No calls in the ledger." if not (since or until or only) else "No such calls.")


def moment(text: str, now: float, zone: tzinfo, *, end: bool = False) -> float:
    """Seconds since the epoch of 7d (ago), a date or a date and time, in a zone unless it has one.

    A date is its first moment, or with `end` its last: the first of the next day. Raises
    click.BadParameter.
    """
    try:
        if match := re.fullmatch(r"(\d+)([smhdw])", text):
            return now - int(match[1]) * _SPANS[match[2]]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text) + timedelta(days=end)
            return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time: write 24h, 7d, 2026-11-01 or 2026-11-01T09:30"
        ) from None


def _zone(name: str) -> tzinfo:
    if name == "UTC":  # known without a time zone database
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise click.BadParameter(f"there is no time zone {name!r}") from None


def _ask(ledger: Ledger, by: Sequence[str], **options: Any) -> tuple[list[Group], Group]:
    # A look at a ledger that is not there must not make one, perhaps as another user.
    if not ledger.store_path.exists() and not ledger.journal_folder.exists():
        return [], _NOTHING
    store = Store(f"sqlite:///{ledger.store_path}")
    store.feed(ledger.journal_folder)
    return ask(store, by, **options), ask(store, **options)[0]


def _cell_of(name: object) -> object:
    """A name in CSV: clients choose tags and models, and a spreadsheet would run a formula."""
    if not isinstance(name, str):
        return name
    text = plain(name)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(group: Group, by: Sequence[str]) -> dict[str, object]:
    row = msgspec.structs.asdict(group)
    cost = None if group.cost is None else format(group.cost, "f")
    return dict(zip(by, group.names, strict=False)) | {n: row[n] for n in _NUMBERS} | {"cost": cost}


def _show(groups: Sequence[Group], total: Group, by: Sequence[str]) -> None:
    shown = [name for name in _NUMBERS if name in _ALWAYS or getattr(total, name)]
    heads = {"cost": "USD", "cache_read": "cache read", "cache_write": "cache write"}
    notes = []
    if total.unknown:
        one = total.unknown == 1
        calls, them = ("call has", "it") if one else ("calls have", "them")
        notes.append(f"{number(total.unknown)} {calls} no known cost; the sums leave {them} out.")
    draw(
        [
            *(Column(name) for name in by),
            *(Column(heads.get(name, name), right=True) for name in shown),
        ],
        [
            [*(name or "-" for name in group.names), *(_cell(group, name) for name in shown)]
            for group in groups
        ],
        total=["total", *[""] * (len(by) - 1), *(_cell(total, name) for name in shown)],
        notes=notes,
    )


def _cell(group: Group, name: str) -> str:
    if name != "cost":
        return number(getattr(group, name))
    return "unknown" if group.cost is None and group.unknown else usd(group.cost)
