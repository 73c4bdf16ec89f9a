"""Compare the provider's own bills with the ledger of a gateway that was never killed."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.core.ledger_rows import FinalRow
from tests.e2e.kill_audit import Books, _cost, _settled
from tests.e2e.kill_provider import ProviderBill

_AGAIN = "again-"


@dataclass
class Audit:
    """The sums that were compared, and the differences."""

    states: Counter[str] = field(default_factory=Counter)
    billed: Decimal = Decimal(0)
    """USD for the answers of settled calls, by the provider's bills."""
    settled: Decimal = Decimal(0)
    """USD for the same answers, by the ledger."""
    wrong: list[str] = field(default_factory=list)


def audit(bills: Iterable[ProviderBill], read: Books, left: set[str]) -> Audit:
    """Compare all calls. `left` are the calls whose clients left."""
    result, requests = Audit(), defaultdict[str, list[ProviderBill]](list)
    for bill in bills:
        requests[bill.marker].append(bill)
    calls: dict[str, list[str]] = defaultdict(list)
    for id, finals in read.finals.items():
        if len(finals) != 1:
            result.wrong.append(f"{id}: {len(finals)} final rows")
        result.states[finals[0].state] += 1
        calls[finals[0].tags[0] if finals[0].tags else id].append(id)
    result.wrong += [f"{id}: no final row" for id in read.intents.keys() - read.finals.keys()]
    for marker, marker_bills in requests.items():
        if marker not in calls:
            result.wrong.append(f"{marker}: asked of the provider, and not in the ledger")
        elif marker.startswith(_AGAIN):
            _again(result, marker, marker_bills, [read.finals[id][0] for id in calls[marker]])
    for marker, ids in calls.items():
        if marker.startswith(_AGAIN):
            continue
        if len(ids) > 1:
            result.wrong.append(f"{marker}: {len(ids)} calls")
        ones = sorted(requests.get(marker, []), key=lambda bill: bill.number)
        _audit_marker(result, marker, ones, read, ids[0], left=marker in left)
    return result


def _audit_marker(
    audit: Audit, marker: str, bills: list[ProviderBill], read: Books, id: str, *, left: bool
) -> None:
    entry, intents = read.finals[id][0], read.intents.get(id, [])
    wrong = []
    # A request may never have arrived if its client left while it was being sent.
    if not (len(bills) <= len(intents) <= len(bills) + left and entry.attempts == len(intents)):
        wrong.append(f"{len(bills)} requests, {len(intents)} intents, {entry.attempts} attempts")
    failed = read.failed.get(id, [])
    if entry.state == "settled":
        if not bills or bills[-1].kind != "answer":
            wrong.append("settled, and not billed")
        else:
            priced = [row for row in failed if row.cost is not None]
            wrong += _settled(bills[-1], failed, entry)
            bill = bills[-1]
            audit.billed += _cost((bill.input, bill.cached, bill.output))
            audit.settled += (entry.cost or Decimal(0)) - sum(
                (row.cost or 0 for row in priced), Decimal(0)
            )
    elif entry.state == "unknown_crash":
        wrong.append("closed as crashed, and nothing was killed")
    elif entry.state == "aborted" and entry.aborted_by == "client" and not left:
        wrong.append("aborted by a client that did not leave")
    audit.wrong += [f"{marker} {id}: {fault}" for fault in wrong]


def _again(audit: Audit, marker: str, bills: list[ProviderBill], entries: list[FinalRow]) -> None:
    """Check calls of one prompt: no more are settled than billed, and a hit sent no request."""
    answers = [bill for bill in bills if bill.kind == "answer"]
    settled = [entry for entry in entries if entry.state == "settled"]
    if len(settled) > len(answers):
        audit.wrong.append(f"{marker}: {len(answers)} answers billed, {len(settled)} settled")
    if any(entry.attempts for entry in entries if entry.state == "cache_hit"):
        audit.wrong.append(f"{marker}: a hit with a request")
