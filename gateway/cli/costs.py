"""`tiergate costs`: sums what calls cost by tier, lab, model, key, day and others."""

from collections.abc import Sequence
from datetime import datetime, tzinfo

import click

from gateway.cli.app import CommandGroup
from gateway.cli.costs_reprice import reprice
from gateway.cli.costs_show import STORE_HELP, show
from gateway.cli.costs_user import user
from gateway.cli.ledger_session import (
    LedgerPlace,
    open_ledger_reader,
    parse_query_options,
    period_options,
)
from gateway.cli.terminal import (
    TableColumn,
    format_count,
    format_upper_bound,
    format_usd,
    print_table,
)
from gateway.core import jsonio
from gateway.core.ledger_rows import DamagedRow
from gateway.ledger import export
from gateway.ledger.query import GROUP_BY_NAMES, QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import count_damaged_rows

_EMPTY_TOTAL = QueryGroup(
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
_ALWAYS_COLUMNS = ("calls", "input", "output", "cost")  # the others only if they have a value
_HEADINGS = {"cost": "USD", "cache_read": "cache read", "cache_write": "cache write"}
_COLUMN_RANKS = {
    "input": 1, "output": 1, "saved": 2, "wasted": 3, "estimate": 3, "cached": 4, "failed": 4,
    "baseline": 5, "cache_read": 6, "cache_write": 6, "reasoning": 7,
}  # fmt: skip
"""Ranks of columns. On a narrow terminal the highest rank is left out first; others always stay."""
_HIDDEN_COLUMNS = ("reserved",)  # a note below the table has it


@click.group(cls=CommandGroup, invoke_without_command=True)
@click.option(
    "--by", multiple=True, help=f"{', '.join(GROUP_BY_NAMES)}; repeat it, or use commas. [tier]"
)
@period_options()
@click.option("--only", multiple=True, help="Only calls with NAME=VALUE.")
@click.option("--zone", help="Time zone of days and dates, as Europe/Berlin.")
@click.option("--store", "store_url", help=STORE_HELP)
@click.option("--json", "form", flag_value="json", help="JSON, with exact decimals as strings.")
@click.option("--csv", "form", flag_value="csv", help="CSV, with exact decimals.")
@click.pass_context
def costs(
    ctx: click.Context,
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    only: tuple[str, ...],
    zone: str | None,
    store_url: str | None,
    form: str | None,
) -> None:
    """Show what calls cost.

    A name that a spreadsheet would take for a formula has an apostrophe before it in CSV. An empty
    cell of CSV and a null of JSON are unknown: never read them as 0. JSON has the keys
    since, until (seconds since the epoch or null), zone, by, groups, total and damaged_rows; a
    group has the names of --by, numbers of calls, tokens, and USD as text.

    \b
    Examples:
      tiergate costs
      tiergate costs --by day,model --since 7d
      tiergate costs --only key=support --json
      tiergate costs --store clickhouse://reader@warehouse.internal:8443/ledger --by team
      tiergate costs show tg-019ad9f5f0c7d3e8b3b0c1a
      tiergate costs reprice --dry-run
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if ctx.invoked_subcommand is not None:
        if any((by, since, until, only, zone, store_url, form)):
            raise click.UsageError(f"write options behind {ctx.invoked_subcommand!r}.", ctx)
        return
    location: LedgerPlace = ctx.obj()
    query = parse_query_options(
        by or ("tier",), since=since, until=until, only=only, zone=zone or location.time_zone
    )
    groups, total, damages = _read_groups(location, query, store_url)
    if form == "json":
        sums = export.build_sums(query, groups, total, damaged_rows=count_damaged_rows(damages))
        click.echo(jsonio.dumps_printable(sums))
        return
    damage_notes = _build_damage_notes(damages, query.time_zone)
    if form == "csv":
        click.echo(export.format_groups_csv(query.by, groups), nl=False)
    elif total.calls:
        _print_groups(groups, total, query.by, damage_notes)
        return
    else:
        click.echo("No calls in the ledger." if not (since or until or only) else "No such calls.")
    for note in damage_notes:
        click.echo(note, err=True)


costs.add_command(reprice)
costs.add_command(show)
costs.add_command(user)


def _read_groups(
    location: LedgerPlace, query: LedgerQuery, store_url: str | None
) -> tuple[list[QueryGroup], QueryGroup, list[DamagedRow]]:
    with open_ledger_reader(location, store_url) as store:
        if store is None:
            return [], _EMPTY_TOTAL, []
        selection = query.selection
        (total,) = store.sum_costs((), zone=query.time_zone, **selection)
        groups = store.sum_costs(query.by, zone=query.time_zone, **selection)
        return groups, total, store.read_damages(since=query.since, until=query.until)


def _print_groups(
    groups: Sequence[QueryGroup],
    total: QueryGroup,
    by: Sequence[str],
    damage_notes: Sequence[str],
) -> None:
    column_names = [
        name
        for name in export.GROUP_FIELDS
        if name not in _HIDDEN_COLUMNS and (name in _ALWAYS_COLUMNS or getattr(total, name))
    ]
    share_formatters = [_format_saved_share] if total.baseline else []
    columns = [
        *(TableColumn(name) for name in by),
        *(
            TableColumn(_HEADINGS.get(name, name), numeric=True, rank=_COLUMN_RANKS.get(name, 0))
            for name in column_names
        ),
        *(TableColumn("saved %", numeric=True) for _ in share_formatters),
    ]

    def format_cells(group: QueryGroup) -> list[str]:
        return [
            *(_format_cell(group, name) for name in column_names),
            *(format_share(group) for format_share in share_formatters),
        ]

    print_table(
        columns,
        [[*(name or "-" for name in group.names), *format_cells(group)] for group in groups],
        total=["total", *[""] * (len(by) - 1), *format_cells(total)],
        notes=[*_build_notes(total), *damage_notes],
    )


def _format_cell(group: QueryGroup, name: str) -> str:
    value = getattr(group, name)
    if name == "cost" and value is None and group.unknown:
        return "unknown"
    return format_count(value) if isinstance(value, int) else format_usd(value)


def _format_saved_share(group: QueryGroup) -> str:
    """Format the part of the baseline that was saved, in percent."""
    if not group.baseline or group.saved is None:
        return "-"
    return f"{100 * group.saved / group.baseline:.1f}"


def _build_notes(total: QueryGroup) -> list[str]:
    notes: list[str] = []
    if total.unknown:
        subject = (
            "1 call has" if total.unknown == 1 else f"{format_count(total.unknown)} calls have"
        )
        notes.append(f"{subject} an unknown cost; the sums leave it out.")
    if total.reserved:
        bound = format_upper_bound(total.reserved)
        notes.append(f"Unknown and estimated costs may be up to ${bound} more, as far as bounded.")
    return notes


def _build_damage_notes(damages: Sequence[DamagedRow], zone: tzinfo) -> list[str]:
    if not damages:
        return []
    count = count_damaged_rows(damages)
    subject = "1 row" if count == 1 else f"{format_count(count)} rows"
    last_date = datetime.fromtimestamp(max(row.until for row in damages), zone)
    note = (
        f"{subject} of the journal, written until {last_date:%Y-%m-%d %H:%M}, cannot be read: the"
        " sums may lack their calls. `tiergate ledger verify` lists them."
    )
    return [note]
