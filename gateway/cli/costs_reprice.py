"""`tiergate costs reprice`: prices calls again whose cost was unknown when they ended.

It also finds prices of providers that are off by now, and of models that are no longer targets.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from gateway.cli.key_clients import find_user
from gateway.cli.ledger_session import open_ledger, parse_query_options, period_options
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import count_progress, format_count
from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow, RepriceRow
from gateway.core.price import Price, explain_unknown_cost
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.reprice import price_again, read_usage
from gateway.ledger.store import LedgerStore, StoredRow
from gateway.settings import catalogue, list_prices, pricing
from gateway.settings.baseline import build_baseline
from gateway.settings.data_folder import find_data_folder
from gateway.state.audit import AuditLog

if TYPE_CHECKING:  # slow to import, and other commands of `costs` do not need it
    from gateway.runtime.build import BuiltConfig

_DAY_SECONDS = 86_400

type FindListPrice = Callable[[str, str, datetime], Price | None]


class PriceList:
    """The prices of calls.

    `find_list_price` looks up the models that have no price in the configuration.
    """

    def __init__(
        self, built_config: "BuiltConfig", find_list_price: FindListPrice = list_prices.find_price
    ) -> None:
        self._built_config = built_config
        self._find_list_price = find_list_price
        self._cached_look_up = functools.cache(self._look_up)
        self._find_baseline_target = build_baseline(
            built_config.source, built_config.built_catalogue
        )

    def find_price(self, row: FinalRow) -> Price | None:
        """Find the price of the model that a call went to, on the day when the call came."""
        return self._find_on_day(row.provider, row.model, row.at)

    def find_baseline_price(self, row: FinalRow) -> Price | None:
        """Find the price that a call is compared with; None if no baseline is declared or known.

        A call that named its model or tier is compared with its own target.
        """
        if self._find_baseline_target is None or row.lab is None:
            return None
        if row.source == "pin" or row.tier is None:
            return self.find_price(row)
        target = self._find_baseline_target(row.lab)
        return (
            None
            if target is None
            else self._find_on_day(target.provider.name, target.model, row.at)
        )

    def _find_on_day(
        self, provider: str | None, model: str | None, received_at: float
    ) -> Price | None:
        if provider is None or model is None:
            return None
        return self._cached_look_up(provider, model, received_at // _DAY_SECONDS)

    def _look_up(self, provider: str, model: str, day: float) -> Price | None:
        config = self._built_config.source.config
        model_part = catalogue.find_model(config.models, provider, model)
        if model_part is not None and model_part.price is not None:
            return pricing.build_price(model_part.price)
        provider_part = config.providers.get(provider)
        list_name = (provider_part.prices if provider_part is not None else None) or provider
        return self._find_list_price(
            list_name, model, datetime.fromtimestamp(day * _DAY_SECONDS, UTC)
        )


_EXACT_CONTEXT = Context(prec=100)
_PAGE_ROWS = 1_000
_MAX_REASON_LINES = 20
"""Maximum number of reasons that the report lists."""


@click.command
@period_options()
@click.option("--all", "every", is_flag=True, help="Also calls whose cost is known.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--json", "as_json", is_flag=True, help="JSON, with exact decimals as strings.")
@pass_session
def reprice(
    session: CommandSession,
    since: str | None,
    until: str | None,
    *,
    every: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Price calls again whose cost is unknown, by prices that are known now.

    The price is the one in force when a call was received. The first price of a call stays in the
    journal; the new one is a row of its own there.

    \b
    Examples:
      tiergate costs reprice --dry-run
      tiergate costs reprice --since 2026-11-01 --all
    """  # noqa: D301 - \b is click's sign that lines stay apart
    location, price_list = session(), PriceList(session.built_config)
    query = parse_query_options((), since=since, until=until, zone=location.time_zone)
    report = RepriceReport()
    with open_ledger(location) as store:
        if store is not None:
            rows = _read_rows(store, query) if every else store.read_unpriced(**query.selection)
            new_rows = _reprice_rows(
                count_progress(rows, "calls"), price_list, report, store.read_attempts, every=every
            )
            if dry_run:
                for _ in new_rows:
                    pass
            else:
                audit = AuditLog(find_data_folder(session.environ))
                audit.check()
                # The rows get a journal of their own, so that any store can be rebuilt.
                _write_rows(new_rows, location.journal_folder)
                store.feed(location.journal_folder)
                audit.append(
                    "ledger.reprice",
                    who=find_user(),
                    via="cli",
                    before={"since": since, "until": until, "all": every},
                    after=report.build_json(dry_run=False),
                )
    if as_json:
        click.echo(jsonio.dumps_printable(report.build_json(dry_run=dry_run)))
        return
    for line in report.format_lines(dry_run=dry_run):
        click.echo(line)


class RepriceReport:
    """Counts and costs of the calls that were priced again, and why others were not."""

    def __init__(self) -> None:
        self.row_count = 0
        self.priced_count = 0
        self.old_usd, self.new_usd = Decimal(0), Decimal(0)
        """USD of the calls that were priced again, before and after. Unknown costs count as 0."""
        self.first_price_count = 0
        """The number of these calls that had no cost before."""
        self.unknown_reasons: Counter[str] = Counter()
        """The number of calls whose cost is still unknown, by reason."""

    def add(self, row: StoredRow, new_row: RepriceRow | None, reason: str) -> None:
        """Count one row. `new_row` is None if the row is not priced again."""
        self.row_count += 1
        if new_row is not None:
            self.priced_count += 1
            self.first_price_count += row.cost is None and new_row.cost is not None
            self.old_usd = _EXACT_CONTEXT.add(self.old_usd, row.cost or Decimal(0))
            self.new_usd = _EXACT_CONTEXT.add(self.new_usd, new_row.cost or Decimal(0))
        if (row.cost if new_row is None else new_row.cost) is None and reason:
            self.unknown_reasons[reason] += 1

    def build_json(self, *, dry_run: bool) -> dict[str, object]:
        """Return the report for JSON, with USD as text."""
        return {
            "dry_run": dry_run,
            "calls": self.row_count,
            "priced": self.priced_count,
            "new": self.first_price_count,
            "was": f"{self.old_usd:f}",
            "found": f"{self.new_usd:f}",
            "unknown": self.unknown_reasons.total(),
            "why": dict(self.unknown_reasons.most_common()),
        }

    def format_lines(self, *, dry_run: bool) -> list[str]:
        """Return the lines of the report for people."""
        if not self.row_count:
            return ["There is nothing to price again."]
        verb = "would be priced" if dry_run else "priced"
        summary = (
            f"{format_count(self.priced_count)} of {format_count(self.row_count)} calls "
            f"{verb} again"
        )
        first_price_note = f"{format_count(self.first_price_count)} of them had no cost before"
        lines = [f"None of {format_count(self.row_count)} calls has another price now."]
        if self.priced_count:
            lines = [
                f"{summary}, from ${self.old_usd:,f} to ${self.new_usd:,f}; {first_price_note}."
            ]
        lines += [
            f"  {format_count(count)}: {reason}"
            for reason, count in self.unknown_reasons.most_common(_MAX_REASON_LINES)
        ]
        if len(self.unknown_reasons) > _MAX_REASON_LINES:
            lines.append(f"  and {len(self.unknown_reasons) - _MAX_REASON_LINES} more reasons")
        if self.unknown_reasons:
            lines.insert(1, f"{format_count(self.unknown_reasons.total())} are still unknown:")
        return lines


def explain_missing_cost(row: StoredRow, price_list: PriceList) -> str:
    """Explain why the cost of a call is not known; empty if it is known."""
    if row.cost is not None and row.wasted is not None:
        return ""
    if row.state == "unknown_crash":
        return "the process ended during the call, before it read what the provider billed"
    if row.cost is not None or row.state == "failed":
        return "an attempt failed after the provider may have started, and reported no usage"
    usage = read_usage(row)
    if usage is None:
        return "the usage is not known"
    price = price_list.find_price(row)
    missing_price = explain_unknown_cost(
        usage, price.find_in_force(row.at) if price is not None else None
    )
    name = f"{row.provider}/{row.model}"
    if missing_price is None:
        return f"{name} has a price now: run `tiergate costs reprice`"
    if not missing_price.startswith("no price"):
        return f"{name} gave {missing_price}"
    extra_hint = "" if list_prices.is_installed() else ", or install tiergate[prices]"
    return f"{name} has {missing_price}: write one under `models`{extra_hint}"


def _reprice_rows(
    rows: Iterable[StoredRow],
    price_list: PriceList,
    report: RepriceReport,
    read_attempts: Callable[[str], list[AttemptRow]],
    *,
    every: bool,
) -> Iterator[RepriceRow]:
    for row in rows:
        target_price = price_list.find_price(row)
        comparison_price = price_list.find_baseline_price(row)
        attempt_rows = () if row.attempts < 2 or _has_attempt_costs(row) else read_attempts(row.id)
        new_row = price_again(
            row,
            target_price,
            comparison_price,
            time.time(),
            attempts=attempt_rows,
            reprice_known=every,
        )
        updated_row = row if new_row is None else msgspec.structs.replace(row, cost=new_row.cost)
        report.add(row, new_row, explain_missing_cost(updated_row, price_list))
        if new_row is not None:
            yield new_row


def _has_attempt_costs(row: StoredRow) -> bool:
    """Return True if the row itself has the cost of its failed attempts.

    Reading the attempts of every row would take long.
    """
    return row.cost is not None and row.wasted is not None and row.usage == "provider"


def _write_rows(rows: Iterator[RepriceRow], folder: Path) -> None:
    first = next(rows, None)
    if first is None:
        return
    from gateway.ledger.journal import Journal  # noqa: PLC0415 - slow, and not always needed

    journal = Journal(folder)
    try:
        journal.write(first)
        for row in rows:
            journal.write(row)
    finally:
        journal.close()


def _read_rows(store: LedgerStore, query: LedgerQuery) -> Iterator[StoredRow]:
    cursor: str | None = None
    started_at = time.time()
    while page := store.read_entries(**query.selection, after_cursor=cursor, limit=_PAGE_ROWS):
        # A running gateway feeds the store meanwhile: a row that was repriced here may come again.
        yield from (row for row in page if row.repriced is None or row.repriced < started_at)
        cursor = page[-1].cursor
