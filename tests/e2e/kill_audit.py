"""The audit: what a provider has billed, what clients saw, the journals and the store, compared."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.core import jsonio
from gateway.core.entry import Entry, Intent
from gateway.ledger import journal
from tests.e2e.kill_load import Load
from tests.e2e.kill_provider import Bill

RATES = {"input": Decimal(3), "cache_read": Decimal("0.3"), "output": Decimal(15)}
"""USD per million tokens, of both labs."""


@dataclass
class Books:
    """The journals of a data folder."""

    intents: dict[str, list[Intent]]
    finals: dict[str, list[Entry]]
    owners: dict[str, set[int]]
    """By call, the processes that wrote its intents."""


def books(folder: Path) -> Books:
    read = Books(defaultdict(list), defaultdict(list), defaultdict(set))
    for path in journal.segments(folder):
        for row, _ in journal.rows(path):
            if isinstance(row, Intent):
                read.intents[row.id].append(row)
                read.owners[row.id].add(int(path.name.split("-")[1]))
            elif row is not None:
                read.finals[row.id].append(row)
    return read


def audit(billed: Iterable[Bill], load: Load, read: Books, killed: set[int]) -> list[str]:
    """Every disagreement, one a line; none where the ledger is what the provider billed."""
    wrong = list(load.wrong)
    calls: dict[str, set[str]] = defaultdict(set)
    for id, tries in read.intents.items():
        if len(tries) != 1:
            wrong.append(f"{id}: {len(tries)} intents")
        if len(read.finals.get(id, ())) != 1:
            wrong.append(f"{id}: {len(read.finals.get(id, ()))} final rows")
        calls[tries[0].tags[0]].add(id)
    wrong += [
        f"{id}: a final row without an intent" for id in read.finals.keys() - read.intents.keys()
    ]
    charged: set[str] = set()
    for bill in billed:
        if bill.marker in charged:
            wrong.append(f"{bill.marker}: billed twice")
        charged.add(bill.marker)
        if len(calls.get(bill.marker, ())) != 1:
            wrong.append(
                f"{bill.marker}: billed, and {len(calls.get(bill.marker, ()))} calls in the ledger"
            )
            continue
        (id,) = calls[bill.marker]
        for entry in read.finals.get(id, ())[:1]:
            wrong += _agrees(bill, entry)
    for id, finals in read.finals.items():
        wrong += _closed(id, finals[0], load, charged, read.owners, killed)
    return wrong


def _agrees(bill: Bill, entry: Entry) -> list[str]:
    if entry.state == "unknown_crash":
        return [] if entry.cost is None else [f"{entry.id}: a cost that nobody knows"]
    tokens = (bill.input, bill.cached, bill.output)
    rates = (RATES["input"], RATES["cache_read"], RATES["output"])
    cost = sum(count * rate for count, rate in zip(tokens, rates, strict=True)) / Decimal(1_000_000)
    found = (entry.input, entry.cache_read or 0, entry.output)
    if entry.state == "settled" and (found, entry.cost) == (tokens, cost):
        return []
    return [f"{bill.marker}: billed {tokens} and {cost}, {entry.state} {found} and {entry.cost}"]


def _closed(
    id: str, entry: Entry, load: Load, charged: set[str],
    owners: Mapping[str, set[int]], killed: set[int],
) -> list[str]:  # fmt: skip
    """What is wrong with how a call ended."""
    marker = entry.tags[0]
    if entry.state == "unknown_crash":
        wrong = []
        if marker not in load.broken:
            wrong.append(f"{marker}: closed as crashed, and its client has the answer")
        if not owners[id] <= killed:
            wrong.append(f"{marker}: closed as crashed in {owners[id]}, which was not killed")
        return wrong
    if entry.state != "settled":
        return [f"{marker}: {entry.state}"]
    if marker not in charged:
        return [f"{marker}: settled, and not billed"]
    return []


def store(read: Books, command: list[str], environ: Mapping[str, str]) -> list[str]:
    """Where `tiergate costs` says something else than the journals."""
    said = subprocess.run(
        [sys.executable, "-m", "gateway", *command, "costs", "--by", "lab,model", "--json"],
        env=environ, capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    total = jsonio.loads(said)["total"]
    rows = [one for finals in read.finals.values() for one in finals]
    states = Counter(row.state for row in rows)
    told = {
        "calls": len(rows),
        "failed": states["unknown_crash"],
        "unknown": states["unknown_crash"],
        "input": sum(row.input or 0 for row in rows),
        "cache_read": sum(row.cache_read or 0 for row in rows),
        "output": sum(row.output or 0 for row in rows),
        "cost": sum((row.cost or Decimal(0) for row in rows), Decimal(0)),
    }
    found = {name: total[name] for name in told} | {"cost": Decimal(total["cost"])}
    return [] if found == told else [f"the store says {found}, the journals {told}"]
