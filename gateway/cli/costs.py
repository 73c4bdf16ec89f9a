"""The command `costs`: what calls cost, added up by tier, lab, model, key, day and others."""

from collections.abc import Sequence

import click

from gateway.cli.app import CommandGroup
from gateway.cli.costs_reprice import reprice
from gateway.cli.costs_show import show
from gateway.cli.ledger_session import LedgerPlace, asked, opened
from gateway.cli.terminal import TableColumn, bound, draw, number, usd
from gateway.core import jsonio
from gateway.ledger import export
from gateway.ledger.query import BY
from gateway.ledger.query import QueryGroup as Sums
from gateway.ledger.query_params import LedgerQuery

_NOTHING = Sums(
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
_ALWAYS = ("calls", "input", "output", "cost")  # the others where they say something
_HEADS = {"cost": "USD", "cache_read": "cache read", "cache_write": "cache write"}
_RANKS = {
    "input": 1, "output": 1, "saved": 2, "wasted": 3, "estimate": 3, "cached": 4, "failed": 4,
    "baseline": 5, "cache_read": 6, "cache_write": 6, "reasoning": 7,
}  # fmt: skip
"""Which columns go first where a terminal is too narrow for all; the others never do."""
_UNSHOWN = ("reserved",)  # a note tells it


@click.group(cls=CommandGroup, invoke_without_command=True)
@click.option("--by", multiple=True, help=f"{', '.join(BY)}; repeat it, or use commas. [tier]")
@click.option("--since", help="From: 90m, 24h, 7d, 4w ago, a date or a date and time.")
@click.option("--until", help="To: as above; a date is included.")
@click.option("--only", multiple=True, help="Only calls with NAME=VALUE.")
@click.option("--zone", help="Time zone of days and dates, as Europe/Berlin.")
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
    form: str | None,
) -> None:
    """Show what calls cost.

    A name that a spreadsheet would take for a formula has an apostrophe before it in CSV. An empty
    cell of CSV and a null of JSON are unknown: never read them as 0. JSON has the keys
    since, until (seconds since the epoch or null), zone, by, groups and total; a group has the
    names of --by, numbers of calls, tokens, and USD as text.

    \b
    Examples:
      tiergate costs
      tiergate costs --by day,model --since 7d
      tiergate costs --only key=support --json
      tiergate costs show tg-019ad9f5f0c7d3e8b3b0c1a
      tiergate costs reprice --dry-run
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if ctx.invoked_subcommand is not None:
        if any((by, since, until, only, zone, form)):
            raise click.UsageError(f"write options behind {ctx.invoked_subcommand!r}.", ctx)
        return
    books: LedgerPlace = ctx.obj()
    question = asked(
        by or ("tier",), since=since, until=until, only=only, zone=zone or books.time_zone
    )
    groups, total = _find(books, question)
    if form == "json":
        click.echo(jsonio.shown(export.sums(question, groups, total)))
    elif form == "csv":
        click.echo(export.sheet(question.by, groups), nl=False)
    elif total.calls:
        _show(groups, total, question.by)
    else:
        click.echo("No calls in the ledger." if not (since or until or only) else "No such calls.")


costs.add_command(reprice)
costs.add_command(show)


def _find(books: LedgerPlace, question: LedgerQuery) -> tuple[list[Sums], Sums]:
    with opened(books) as store:
        if store is None:
            return [], _NOTHING
        chosen = question.chosen
        (total,) = store.costs((), zone=question.place, **chosen)
        return store.costs(question.by, zone=question.place, **chosen), total


def _show(groups: Sequence[Sums], total: Sums, by: Sequence[str]) -> None:
    shown = [
        name
        for name in export.NUMBERS
        if name not in _UNSHOWN and (name in _ALWAYS or getattr(total, name))
    ]
    share = [_share] if total.baseline else []
    columns = [
        *(TableColumn(name) for name in by),
        *(
            TableColumn(_HEADS.get(name, name), right=True, rank=_RANKS.get(name, 0))
            for name in shown
        ),
        *(TableColumn("saved %", right=True) for _ in share),
    ]

    def cells(group: Sums) -> list[str]:
        return [*(_cell(group, name) for name in shown), *(tell(group) for tell in share)]

    draw(
        columns,
        [[*(name or "-" for name in group.names), *cells(group)] for group in groups],
        total=["total", *[""] * (len(by) - 1), *cells(total)],
        notes=_notes(total),
    )


def _cell(group: Sums, name: str) -> str:
    value = getattr(group, name)
    if name == "cost" and value is None and group.unknown:
        return "unknown"
    return number(value) if isinstance(value, int) else usd(value)


def _share(group: Sums) -> str:
    """How much of the baseline was saved, in percent."""
    if not group.baseline or group.saved is None:
        return "-"
    return f"{100 * group.saved / group.baseline:.1f}"


def _notes(total: Sums) -> list[str]:
    if not total.unknown:
        return []
    some = "1 call has" if total.unknown == 1 else f"{number(total.unknown)} calls have"
    most = ""
    if total.reserved:
        most = f" (at most ${bound(total.reserved)}, where there is a bound)"
    return [f"{some} costs that are not known{most}; the sums leave them out."]
