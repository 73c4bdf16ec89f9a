"""The audit: compares the provider's bills, the clients' answers, the journals and the store."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow
from gateway.ledger import journal
from tests.e2e.kill_load import KillLoad
from tests.e2e.kill_provider import ProviderBill

RATES = {"input": Decimal(3), "cache_read": Decimal("0.3"), "output": Decimal(15)}
"""USD per million tokens, for both labs."""


@dataclass
class Books:
    """The journals of a data folder, by call."""

    intents: dict[str, list[IntentRow]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, list[AttemptRow]] = field(default_factory=lambda: defaultdict(list))
    finals: dict[str, list[FinalRow]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The processes that wrote the intents of a call."""


def books(folder: Path) -> Books:
    read = Books()
    for path in journal.list_segments(folder):
        for row, _ in journal.read_rows(path):
            match row:
                case IntentRow():
                    # A segment starts with rows of open calls that the one before has too.
                    if row not in read.intents[row.id]:
                        read.intents[row.id].append(row)
                    read.owners[row.id].add(int(path.name.split("-")[1]))
                case AttemptRow():
                    if row not in read.failed[row.id]:
                        read.failed[row.id].append(row)
                case FinalRow():
                    read.finals[row.id].append(row)
    return read


def audit(
    bills: Iterable[ProviderBill], load: KillLoad, read: Books, killed: set[int]
) -> list[str]:
    """Return every disagreement, one a line; none if the ledger equals the provider's bills."""
    wrong = list(load.wrong)
    calls: dict[str, set[str]] = defaultdict(set)
    for id, tries in read.intents.items():
        if [intent.attempt for intent in tries] != [*range(1, len(tries) + 1)]:
            wrong.append(f"{id}: intents {[intent.attempt for intent in tries]}")
        if len(read.finals.get(id, ())) != 1:
            wrong.append(f"{id}: {len(read.finals.get(id, ()))} final rows")
        calls[tries[0].tags[0]].add(id)
    wrong += [
        f"{id}: a row without an intent"
        for id in (read.finals.keys() | read.failed.keys()) - read.intents.keys()
        if any(row.state != "refused" for row in read.finals.get(id, ()))
    ]
    wrong += [f"{marker}: {len(ids)} calls" for marker, ids in calls.items() if len(ids) > 1]
    requests: dict[str, list[ProviderBill]] = defaultdict(list)
    for bill in bills:
        requests[bill.marker].append(bill)
    for marker in requests.keys() - calls.keys():
        wrong.append(f"{marker}: asked of the provider, and not in the ledger")
    for marker, (id, *_) in calls.items():
        for entry in read.finals.get(id, ())[:1]:
            ones = sorted(requests[marker], key=lambda bill: bill.number)
            wrong += _agrees(ones, read.intents[id], read.failed.get(id, []), entry)
            wrong += _closed(id, entry, load, read.owners, killed)
    return wrong


def _agrees(
    requests: list[ProviderBill],
    intents: list[IntentRow],
    failed: list[AttemptRow],
    entry: FinalRow,
) -> list[str]:
    """Compare the rows of a call with the provider's own record of its requests."""
    wrong = []
    # If its process was killed just before sending, the last request may not have been sent.
    count, crashed = len(requests), entry.state == "unknown_crash"
    if not (count <= len(intents) <= count + crashed and entry.attempts == len(intents)):
        wrong.append(f"{count} requests, {len(intents)} intents, {entry.attempts} attempts")
    for row in failed:
        wrong += _failed(requests[row.attempt - 1] if row.attempt <= count else None, row)
    wasted = (
        None if any(row.cost is None for row in failed) else sum(row.cost or 0 for row in failed)
    )
    if entry.wasted != wasted:
        wrong.append(f"{entry.wasted} wasted, by its attempts {wasted}")
    if crashed:
        wrong += [] if entry.cost is None else ["a cost that nobody knows"]
    elif entry.state == "failed":  # a provider that fails too often gets no more requests
        wrong += ["failed, and answered"] if any(line.kind == "answer" for line in requests) else []
    elif entry.state != "settled":
        wrong.append(entry.state)
    elif requests and requests[-1].kind == "answer":
        wrong += _settled(requests[-1], failed, entry)
    else:
        wrong.append("settled, and not billed")
    return [f"{entry.tags[0]} {entry.id}: {line}" for line in wrong]


def _failed(bill: ProviderBill | None, row: AttemptRow) -> list[str]:
    """Check a failed attempt: a refusal costs nothing, the cost of a cut answer is unknown."""
    if bill is None or bill.kind == "answer":
        return [f"attempt {row.attempt} failed, and by the provider it is {bill}"]
    if bill.kind == "refused":
        return [] if row.cost == 0 else [f"attempt {row.attempt} cost {row.cost}, not billed"]
    if row.cost is None:
        return [] if row.reserved else [f"attempt {row.attempt} has no bound"]
    # The usage that came before the cut: the prompt, and a first token.
    tokens = (bill.input, bill.cached, 1)
    return [] if row.cost == _cost(tokens) else [f"attempt {row.attempt} cost {row.cost}"]


def _settled(bill: ProviderBill, failed: list[AttemptRow], entry: FinalRow) -> list[str]:
    tokens = (bill.input, bill.cached, bill.output)
    cost = _cost(tokens) + sum(row.cost or 0 for row in failed)
    expected = (bill.id, tokens, cost, [*range(1, bill.number)])
    actual = (
        entry.upstream_id,
        (entry.input, entry.cache_read or 0, entry.output),
        entry.cost,
        [row.attempt for row in failed],
    )
    return [] if actual == expected else [f"billed {expected}, on the ledger {actual}"]


def _cost(tokens: tuple[int, int, int]) -> Decimal:
    rates = (RATES["input"], RATES["cache_read"], RATES["output"])
    return sum(
        (count * rate for count, rate in zip(tokens, rates, strict=True)), Decimal(0)
    ) / Decimal(1_000_000)


def _closed(
    id: str, entry: FinalRow, load: KillLoad, owners: Mapping[str, set[int]], killed: set[int]
) -> list[str]:
    """Check a call that recovery closed."""
    marker, wrong = entry.tags[0], []
    if entry.state == "unknown_crash":
        if marker not in load.broken:
            wrong.append(f"{marker}: closed as crashed, and its client has the answer")
        if not owners[id] <= killed:
            wrong.append(f"{marker}: closed as crashed in {owners[id]}, which was not killed")
    return wrong


def store(read: Books, command: list[str], environ: Mapping[str, str]) -> list[str]:
    """Return the figures in which `tiergate costs` differs from the journals."""
    run = subprocess.run(
        [sys.executable, "-m", "gateway", *command, "costs", "--by", "lab,model", "--json"],
        env=environ, capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    total = jsonio.loads(run)["total"]
    rows = [final for finals in read.finals.values() for final in finals]
    states = Counter(row.state for row in rows)
    names = {
        "calls": len(rows),
        "failed": sum(states[state] for state in ("unknown_crash", "failed", "refused")),
        "unknown": sum(row.cost is None or row.wasted is None for row in rows),
        "input": sum(row.input or 0 for row in rows),
        "cache_read": sum(row.cache_read or 0 for row in rows),
        "output": sum(row.output or 0 for row in rows),
        "cost": sum((row.cost or Decimal(0) for row in rows), Decimal(0)),
    }
    totals = {name: total[name] for name in names} | {"cost": Decimal(total["cost"])}
    return [] if totals == names else [f"the store says {totals}, the journals {names}"]
