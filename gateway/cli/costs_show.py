"""The command `costs show`: all that the ledger knows of one call."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import click
import msgspec

from gateway.cli.costs_reprice import PriceList, why
from gateway.cli.ledger_session import opened
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, draw, number, usd
from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow
from gateway.core.price import Price, Rates
from gateway.ledger import export, transcripts
from gateway.ledger.export import plain
from gateway.ledger.query_params import place, storable
from gateway.ledger.store import StoredRow

_UNSHOWN = ("v", "cursor", "basis")  # the last is for `explain`
_TIMES = ("at", "repriced")


@click.command
@click.argument("call", metavar="CALL_ID")
@click.option("--json", "as_json", is_flag=True, help="As GET /admin/entries/CALL_ID has it.")
@pass_session
def show(session: CommandSession, call: str, *, as_json: bool) -> None:
    """Show one call: its row, attempts, price, why its cost is unknown, and kept text.

    CALL_ID is what the client got as x-request-id. What is unknown, or never came to be, is left
    out; JSON has it as null.

    \b
    Examples:
      tiergate costs show tg-019ad9f5f0c7d3e8b3b0c1a
      tiergate costs show tg-019ad9f5f0c7d3e8b3b0c1a --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    books = session()
    with opened(books) as store:
        asked = store if storable(call) else None
        row = None if asked is None else asked.call(books.journal_folder, call)
        tries = [] if asked is None else asked.attempts(call)
    if row is None:
        raise click.ClickException(f"the ledger has no row of {call!r}; a call that runs has none.")
    if as_json:
        click.echo(jsonio.shown(export.call(row, tries)))
        return
    prices = PriceList(session.site)
    _fields(row, books.time_zone)
    _attempts(tries)
    _price(row, prices)
    if reason := why(row, prices):
        click.secho(f"\nUnknown: {reason}.", fg="yellow")
        if row.reserved is not None:
            click.echo(f"It may have cost ${row.reserved:f} at most.")
    if (text := transcripts.find(books.content_folder, call)) is not None:
        _text("The client sent", text.prompt)
        _text("The client got", text.answer)


def _text(head: str, text: str) -> None:
    click.echo(f"\n{head}:")
    for line in text.splitlines():
        click.echo(plain(line))


def _fields(row: StoredRow, zone: str) -> None:
    shown = [name for name in export.FIELDS if name not in _UNSHOWN]
    told = {name: _said(name, getattr(row, name), zone) for name in shown}
    names = [name for name in shown if told[name]]
    draw([TableColumn("field"), TableColumn("value")], [[name, told[name]] for name in names])


def _said(name: str, value: object, zone: str) -> str:
    if value is None or value in ((), {}):
        return ""
    if name in _TIMES and isinstance(value, float):
        when = datetime.fromtimestamp(value, place(zone))
        return f"{value:f} ({when:%Y-%m-%d %H:%M:%S %Z})"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key or 'unsaid'} {number(count)}" for key, count in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name != "status":
        return number(value)
    return str(export.exact(value))


def _attempts(tries: list[AttemptRow]) -> None:
    if not tries:
        return
    click.echo("\nAttempts that gave no answer:")
    heads = ["#", "target", "account", "status", "problem", "seconds", "USD"]
    draw(
        [TableColumn(head, right=head in ("#", "status", "seconds", "USD")) for head in heads],
        [
            [
                str(one.attempt),
                f"{one.provider}/{one.model}",
                one.account or "-",
                "-" if one.status is None else str(one.status),
                one.problem,
                "-" if one.duration is None else f"{one.duration:.3f}",
                "unknown" if one.cost is None else usd(one.cost),
            ]
            for one in tries
        ],
    )


def _price(row: StoredRow, prices: PriceList) -> None:
    """The rates that the row was priced by, where the configuration still has that price."""
    price = prices.price(row)
    if price is None or row.price is None:
        return
    price = price.on(row.at)
    price = price.serving(row.service) or price
    if price.version != row.price:
        click.echo(f"\nThe price now would be {price.version}: {_rates(price, row)}.")
    else:
        click.echo(f"\nThe price, {price.version}: {_rates(price, row)}.")


def _rates(price: Price, row: StoredRow) -> str:
    prompt = (row.input or 0) + (row.cache_read or 0) + (row.cache_write or 0)
    rates: Rates = price.at(prompt)
    said = [
        f"{name.replace('_', ' ')} {value:f}"
        for name, value in msgspec.structs.asdict(rates).items()
        if isinstance(value, Decimal)
    ]
    said += [f"cache write {name} {value:f}" for name, value in rates.cache_write_by.items()]
    return f"{', '.join(said)} USD per million tokens"
