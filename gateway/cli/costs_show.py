"""`tiergate costs show`: prints all that the ledger knows about one call."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import click
import msgspec

from gateway.cli.costs_reprice import PriceList, explain_missing_cost
from gateway.cli.ledger_session import LedgerPlace, open_ledger, open_ledger_reader
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, format_count, format_usd, print_table
from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FeedbackRow
from gateway.core.price import Price
from gateway.core.printable_text import make_printable
from gateway.core.rates import Rates
from gateway.core.units import find_unit_price
from gateway.ledger import export
from gateway.ledger.query_params import is_storable, load_time_zone
from gateway.ledger.store import StoredRow

_HIDDEN_FIELDS = ("v", "cursor", "basis")  # `explain` shows the last one
_TIME_FIELDS = ("at", "repriced")
STORE_HELP = "Read this store, as clickhouse://USER@HOST:8443/DATABASE. [that of the gateway]"


@click.command
@click.argument("call", metavar="CALL_ID")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, as GET /admin/entries/CALL_ID returns it.",
)
@click.option("--store", "store_url", help=STORE_HELP)
@pass_session
def show(session: CommandSession, call: str, *, as_json: bool, store_url: str | None) -> None:
    """Show one call: its row, attempts, price, why its cost is unknown, and kept text.

    CALL_ID is what the client got as x-request-id. What is unknown, or never came to be, is left
    out; JSON has it as null.

    \b
    Examples:
      tiergate costs show tg-019ad9f5f0c7d3e8b3b0c1a
      tiergate costs show tg-019ad9f5f0c7d3e8b3b0c1a --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    from gateway.ledger import transcripts  # noqa: PLC0415 - slow, and `costs` does not need it

    location = session()
    row, attempts, feedback = (
        _read_call(location, call)
        if store_url is None
        else _read_stored_call(location, call, store_url)
    )
    if row is None:
        raise click.ClickException(
            f"the ledger has no row of {call!r}. A call gets its row when it ends."
        )
    if as_json:
        click.echo(jsonio.dumps_printable(export.build_call(row, attempts, feedback.get(call))))
        return
    price_list = PriceList(session.built_config)
    _print_fields(row, location.time_zone)
    _print_attempts(attempts)
    _print_price(row, price_list)
    if reason := explain_missing_cost(row, price_list):
        click.secho(f"\nUnknown: {reason}.", fg="yellow")
        if row.reserved is not None:
            click.echo(f"It may have cost ${row.reserved:f} at most.")
    if (text := transcripts.find(location.content_folder, call)) is not None:
        _print_text("The client sent", text.prompt)
        _print_text("The client got", text.answer)


type _Call = tuple[StoredRow | None, list[AttemptRow], dict[str, FeedbackRow]]
"""A call with its attempts and its feedback."""


def _read_call(location: LedgerPlace, call: str) -> _Call:
    """Read a call that may have just ended from the gateway's store."""
    with open_ledger(location) as store:
        if store is None or not is_storable(call):
            return None, [], {}
        row = store.find_call(location.journal_folder, call)
        return row, store.read_attempts(call), store.read_feedback([call])


def _read_stored_call(location: LedgerPlace, call: str, store_url: str) -> _Call:
    with open_ledger_reader(location, store_url) as store:
        if store is None or not is_storable(call):
            return None, [], {}
        rows = store.read_entries(only={"id": [call]}, limit=1)
        return (rows[0] if rows else None), store.read_attempts(call), store.read_feedback([call])


def _print_text(heading: str, text: str) -> None:
    click.echo(f"\n{heading}:")
    for line in text.splitlines():
        click.echo(make_printable(line))


def _print_fields(row: StoredRow, zone: str) -> None:
    field_names = [name for name in export.CALL_FIELDS if name not in _HIDDEN_FIELDS]
    texts = {name: _format_field(name, getattr(row, name), zone) for name in field_names}
    names = [name for name in field_names if texts[name]]
    print_table(
        [TableColumn("field"), TableColumn("value")], [[name, texts[name]] for name in names]
    )


def _format_field(name: str, value: object, zone: str) -> str:
    if value is None or value in ((), {}):
        return ""
    if name in _TIME_FIELDS and isinstance(value, float):
        local_time = datetime.fromtimestamp(value, load_time_zone(zone))
        return f"{value:f} ({local_time:%Y-%m-%d %H:%M:%S %Z})"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key or 'unsaid'} {_format_quantity(value[key])}" for key in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name != "status":
        return format_count(value)
    return str(export.format_exact(value))


def _format_quantity(quantity: int | Decimal) -> str:
    return f"{quantity:,f}" if isinstance(quantity, Decimal) else format_count(quantity)


def _print_attempts(attempts: list[AttemptRow]) -> None:
    if not attempts:
        return
    click.echo("\nAttempts that gave no answer:")
    headings = ["#", "target", "account", "status", "problem", "seconds", "USD"]
    print_table(
        [
            TableColumn(heading, numeric=heading in ("#", "status", "seconds", "USD"))
            for heading in headings
        ],
        [
            [
                str(attempt.attempt),
                f"{attempt.provider}/{attempt.model}",
                attempt.account or "-",
                "-" if attempt.status is None else str(attempt.status),
                attempt.problem,
                "-" if attempt.duration is None else f"{attempt.duration:.3f}",
                "unknown" if attempt.cost is None else format_usd(attempt.cost),
            ]
            for attempt in attempts
        ],
    )


def _print_price(row: StoredRow, price_list: PriceList) -> None:
    """Print the rates of the row's price, or those of now if the price has changed since."""
    price = price_list.find_price(row)
    if price is None or row.price is None:
        return
    price = price.find_in_force(row.at)
    price = price.find_service(row.service) or price
    label = "price now would be" if price.version != row.price else "price,"
    rates = "; ".join(filter(None, [_format_rates(price, row), _format_units(price, row)]))
    click.echo(f"\nThe {label} {price.version}: {rates or 'nothing is known of it'}.")


def _format_rates(price: Price, row: StoredRow) -> str:
    prompt_tokens = (row.input or 0) + (row.cache_read or 0) + (row.cache_write or 0)
    rates: Rates = price.find_rates(prompt_tokens)
    phrases = [
        f"{name.replace('_', ' ')} {value:f}"
        for name, value in msgspec.structs.asdict(rates).items()
        if isinstance(value, Decimal)
    ]
    phrases += [f"cache write {name} {value:f}" for name, value in rates.cache_write_by.items()]
    phrases += [
        f"{modality} {name.replace('_', ' ')} {value:f}"
        for modality, media_rates in rates.media.items()
        for name, value in msgspec.structs.asdict(media_rates).items()
        if isinstance(value, Decimal)
    ]
    return f"{', '.join(phrases)} USD per million tokens" if phrases else ""


def _format_units(price: Price, row: StoredRow) -> str:
    unit_prices = {unit: find_unit_price(price.units, unit) for unit in row.units}
    return ", ".join(
        f"{usd:f} USD for one {unit}" for unit, usd in unit_prices.items() if usd is not None
    )
