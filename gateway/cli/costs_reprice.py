"""The command `costs reprice`: prices again what could not be priced when it was called.

Prices of a configuration at any time, also of what is off by now or no longer a target.
"""

import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Context, Decimal
from pathlib import Path

import click
import msgspec

from gateway.cli.ledger_session import asked, opened
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import number
from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow, RepriceRow
from gateway.core.price import Price, why_unknown
from gateway.ledger.journal import Journal
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.reprice import counted, price_again
from gateway.ledger.store import LedgerStore, StoredRow
from gateway.runtime.build import BuiltConfig
from gateway.settings import catalogue, list_prices, pricing
from gateway.settings import list_prices as listed
from gateway.settings.baseline import baseline

_DAY = 86_400

type ListPrice = Callable[[str, str, datetime], Price | None]


class PriceList:
    """What calls are priced by. `listed` looks up what the configuration does not price itself."""

    def __init__(self, site: BuiltConfig, listed: ListPrice = list_prices.find) -> None:
        self._site = site
        self._listed = listed
        self._find = functools.cache(self._look)
        self._compared = baseline(site.source, site.built)

    def price(self, entry: FinalRow) -> Price | None:
        """The price of the model that a call went to, from the day on which it was received."""
        return self._at(entry.provider, entry.model, entry.at)

    def baseline(self, entry: FinalRow) -> Price | None:
        """The price that a call is compared with; None where no baseline is declared or known.

        A call that named its model or tier is compared with its own target.
        """
        if self._compared is None or entry.lab is None:
            return None
        if entry.source == "pin" or entry.tier is None:
            return self.price(entry)
        target = self._compared(entry.lab)
        return None if target is None else self._at(target.provider.name, target.model, entry.at)

    def _at(self, provider: str | None, model: str | None, at: float) -> Price | None:
        if provider is None or model is None:
            return None
        return self._find(provider, model, at // _DAY)

    def _look(self, provider: str, model: str, day: float) -> Price | None:
        config = self._site.source.config
        part = catalogue.describe(config.models, provider, model)
        if part is not None and part.price is not None:
            return pricing.price(part.price)
        known = config.providers.get(provider)
        name = (known.prices if known is not None else None) or provider
        return self._listed(name, model, datetime.fromtimestamp(day * _DAY, UTC))


_EXACT = Context(prec=100)
_PAGE = 1_000
_PATIENCE, _EVERY = 1.0, 0.5
"""Seconds before progress is shown, and between two showings."""
_MODELS = 20
"""Lines of models that are told."""


@click.command
@click.option("--since", help="From: 7d ago, a date or a date and time.")
@click.option("--until", help="To: as above; a date is included.")
@click.option("--all", "every", is_flag=True, help="Also calls whose cost is known.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of them.")
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
    books, prices = session(), PriceList(session.site)
    question = asked((), since=since, until=until, zone=books.time_zone)
    report = RepriceReport()
    with opened(books) as store:
        if store is not None:
            found = _pages(store, question) if every else store.unpriced(**question.chosen)
            again = _again(_shown(found), prices, report, store.attempts, every=every)
            if dry_run:
                for _ in again:
                    pass
            else:
                # A journal of its own: any store can be made again from the journals.
                _write(again, books.journal_folder)
                store.feed(books.journal_folder)
    if as_json:
        click.echo(jsonio.shown(report.view(dry_run=dry_run)))
        return
    for line in report.lines(dry_run=dry_run):
        click.echo(line)


class RepriceReport:
    """What was priced again, and what could not be."""

    def __init__(self) -> None:
        self.rows = 0
        self.priced = 0
        self.was, self.found = Decimal(0), Decimal(0)
        """USD of those that were priced again, as far as they were known."""
        self.news = 0
        """Of these, how many had no cost before."""
        self.left: Counter[str] = Counter()
        """Why the cost of others is still unknown."""

    def add(self, row: StoredRow, new: RepriceRow | None, why: str) -> None:
        """Note one row."""
        self.rows += 1
        if new is not None:
            self.priced += 1
            self.news += row.cost is None and new.cost is not None
            self.was = _EXACT.add(self.was, row.cost or Decimal(0))
            self.found = _EXACT.add(self.found, new.cost or Decimal(0))
        if (row.cost if new is None else new.cost) is None and why:
            self.left[why] += 1

    def view(self, *, dry_run: bool) -> dict[str, object]:
        """The same as JSON has it; USD as text."""
        return {
            "dry_run": dry_run,
            "calls": self.rows,
            "priced": self.priced,
            "new": self.news,
            "was": f"{self.was:f}",
            "found": f"{self.found:f}",
            "unknown": self.left.total(),
            "why": dict(self.left.most_common()),
        }

    def lines(self, *, dry_run: bool) -> list[str]:
        """What is told of it."""
        if not self.rows:
            return ["There is nothing to price again."]
        verb = "would be priced" if dry_run else "priced"
        some = f"{number(self.priced)} of {number(self.rows)} calls {verb} again"
        news = f"{number(self.news)} of them had no cost before"
        lines = [f"None of {number(self.rows)} calls has another price now."]
        if self.priced:
            lines = [f"{some}, from ${self.was:,f} to ${self.found:,f}; {news}."]
        lines += [f"  {number(count)}: {why}" for why, count in self.left.most_common(_MODELS)]
        if len(self.left) > _MODELS:
            lines.append(f"  and {len(self.left) - _MODELS} reasons more")
        if self.left:
            lines.insert(1, f"{number(self.left.total())} are still unknown:")
        return lines


def why(row: StoredRow, prices: PriceList) -> str:
    """Why the cost of a call is not known; empty where it is."""
    if row.cost is not None and row.wasted is not None:
        return ""
    if row.state == "unknown_crash":
        return "the process ended during the call: nobody heard what the provider billed"
    if row.cost is not None or row.state == "failed":
        return "an attempt failed after the provider may have begun, and told no usage"
    usage = counted(row)
    if usage is None:
        return "the usage is not known"
    price = prices.price(row)
    lacking = why_unknown(usage, price.on(row.at) if price is not None else None)
    name = f"{row.provider}/{row.model}"
    if lacking is None:
        return f"{name} has a price now: run `tiergate costs reprice`"
    if price is not None and why_unknown(msgspec.structs.replace(usage, media={}), price) is None:
        return f"{name} has {lacking}: its rates are of text, and of what `as_text` names"
    more = "" if listed.there() else ", or install tiergate[prices]"
    return f"{name} has {lacking}: write one under `models`{more}"


def _again(
    rows: Iterable[StoredRow],
    prices: PriceList,
    report: RepriceReport,
    attempts: Callable[[str], list[AttemptRow]],
    *,
    every: bool,
) -> Iterator[RepriceRow]:
    for row in rows:
        own, other = prices.price(row), prices.baseline(row)
        tries = () if row.attempts < 2 or _tells(row) else attempts(row.id)
        new = price_again(row, own, other, time.time(), attempts=tries, every=every)
        told = row if new is None else msgspec.structs.replace(row, cost=new.cost)
        report.add(row, new, why(told, prices))
        if new is not None:
            yield new


def _tells(row: StoredRow) -> bool:
    """Whether a row tells itself what its failed attempts cost: asking for each takes long."""
    return row.cost is not None and row.wasted is not None and row.usage == "provider"


def _write(rows: Iterator[RepriceRow], folder: Path) -> None:
    first = next(rows, None)
    if first is None:
        return
    journal = Journal(folder)
    try:
        journal.write(first)
        for row in rows:
            journal.write(row)
    finally:
        journal.close()


def _pages(store: LedgerStore, question: LedgerQuery) -> Iterator[StoredRow]:
    after: str | None = None
    begun = time.time()
    while page := store.entries(**question.chosen, after=after, limit=_PAGE):
        # A gateway that runs feeds the store meanwhile: what is new here comes again.
        yield from (row for row in page if row.repriced is None or row.repriced < begun)
        after = page[-1].cursor


def _shown(
    rows: Iterable[StoredRow], clock: Callable[[], float] = time.monotonic
) -> Iterator[StoredRow]:
    """The rows; on a terminal that waits for long, with their number."""
    terminal = sys.stderr.isatty()
    due = clock() + _PATIENCE
    shown = False
    for count, row in enumerate(rows):
        if terminal and (now := clock()) >= due:
            due, shown = now + _EVERY, True
            click.echo(f"\r{count:,} calls", err=True, nl=False)
        yield row
    if shown:
        click.echo("\r\x1b[K", err=True, nl=False)
