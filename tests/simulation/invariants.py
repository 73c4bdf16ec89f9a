"""What must hold at the end of a simulation, whatever failed in it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal

from tests.e2e.budget_audit import MICRO, BudgetTrialResult, cost, peak
from tests.e2e.budget_provider import BilledRequest
from tests.simulation.client import SimulatedOutcome

_NOTHING = Decimal(0)
_OTHERS_ANSWERS = ("hit", "shared")
"""The gateway's words for an answer that no request to the provider has brought."""


@dataclass(frozen=True)
class AuditTerms:
    """The bounds of a simulation, and the exceptions that its faults allow."""

    budgets: Mapping[str, Decimal]
    """USD by the subject of a counter."""
    places: int
    """The most calls at a time; 0 is no limit."""
    is_exact: bool
    """True if nothing failed but providers and clients: budgets then count exactly what is billed,
    if the bills are known."""
    lost_rows: AbstractSet[str]
    """Markers of calls of which a power cut has taken the unsynced rows."""
    lost_intents: AbstractSet[str]
    """Markers of those whose intent it has taken."""
    waits_for_disk: bool
    """True if rows are synced before a request leaves, and before its answer ends."""
    kills: int
    """The number of gateways that were to be killed."""


def check(result: BudgetTrialResult, audit: AuditTerms, *, forgets: bool) -> list[str]:
    """Return every broken invariant of calls, bills and budgets, one a line.

    With `forgets`, counters began anew from the ledger.
    """
    bills: dict[str, list[BilledRequest]] = defaultdict(list)
    for bill in result.bills:
        bills[bill.marker].append(bill)
    wrong = list[str]()
    if audit.waits_for_disk:
        wrong += [
            f"{marker}: asked of the provider before its row was on the disk"
            for marker in audit.lost_intents & bills.keys()
        ]
    lost = audit.lost_rows
    known = {marker: requests for marker, requests in bills.items() if marker not in lost}
    wrong += [*_check_rows(result, known, audit), *_check_bills(result, known, lost)]
    wrong += _check_reservations(result, known, lost)
    for subject, usd in audit.budgets.items():
        # Counters in Redis know of the calls whose rows are lost; those from the ledger do not.
        wrong += _check_budget(
            result, known if forgets else bills, subject, usd * MICRO,
            forgets=forgets, is_exact=audit.is_exact,
        )  # fmt: skip
    if audit.places and (most := peak(result)) > audit.places:
        wrong.append(f"{most} calls at a time, of {audit.places}")
    return wrong


def check_answers(outcomes: Mapping[str, SimulatedOutcome], scope: str) -> Iterator[str]:
    """A client reads answers to its own calls, and those of equal calls in its cache's scope.

    `scope` is "key" or "all"; empty is without a cache.
    """
    for marker, outcome in outcomes.items():
        if len(outcome.answer_markers) > 1:
            yield f"{marker}: one answer has parts of {sorted(outcome.answer_markers)}"
        for other_marker in outcome.answer_markers - {marker}:
            other = outcomes.get(other_marker)
            if other is None or other.request != outcome.request or not scope:
                yield f"{marker}: has the answer of another call, {other_marker}"
            elif scope == "key" and other.key != outcome.key:
                yield f"{marker}: {outcome.key} has an answer of the key {other.key}, {other_marker}"


def _check_rows(
    result: BudgetTrialResult, bills: Mapping[str, list[BilledRequest]], audit: AuditTerms
) -> Iterator[str]:
    """Each call has one final row; each request of a provider has a row from before it."""
    finals, intents = result.books.finals, result.books.intents
    for id in sorted(intents.keys() | finals.keys()):
        rows = intents.get(id) or finals[id]
        if audit.lost_rows & set(rows[0].tags):
            continue
        if len(finals.get(id, ())) != 1:
            yield f"{id}: {len(finals.get(id, ()))} final rows"
    calls_by_marker = defaultdict(set)
    for id, rows in intents.items():
        calls_by_marker[rows[0].tags[0]].add(id)
        attempts = [row.attempt for row in rows]
        if rows[0].tags[0] not in audit.lost_rows and attempts != [*range(1, len(rows) + 1)]:
            yield f"{id}: intents of the attempts {attempts}"
    for marker, requests in bills.items():
        sent = sum(len(intents[id]) for id in calls_by_marker[marker])
        if len(requests) > sent:
            yield f"{marker}: {len(requests)} requests, and {sent} intents"
    for marker, ids in calls_by_marker.items():
        if len(ids) > 1:
            yield f"{marker}: {len(ids)} calls"
    for marker, outcome in result.outcomes.items():
        # A kill can take the rows of the last moment that ask no provider.
        is_excused = (
            isinstance(outcome, SimulatedOutcome)
            and outcome.cache in _OTHERS_ANSWERS
            and audit.kills > 0
        )
        if outcome.status == 200 and outcome.id not in finals and not is_excused:
            yield f"{marker}: answered, and has no row"


def _check_bills(
    result: BudgetTrialResult, bills: Mapping[str, list[BilledRequest]], lost: AbstractSet[str]
) -> Iterator[str]:
    """The ledger has the provider's bill to the digit, where the provider gave its usage."""
    for id, rows in result.books.finals.items():
        row = rows[0]
        if row.cost is None or row.wasted is None or row.estimate or row.tags[0] in lost:
            continue
        billed = sum((cost(bill) for bill in bills.get(row.tags[0], ())), _NOTHING)
        if row.cost * MICRO != billed:
            yield f"{id}: {billed} micro-USD were billed, and {row.cost * MICRO} are in the ledger"


def _check_reservations(
    result: BudgetTrialResult, bills: Mapping[str, list[BilledRequest]], lost: AbstractSet[str]
) -> Iterator[str]:
    """No request is billed above its reservation, and no call above what its row leaves open."""
    intents = {rows[0].tags[0]: rows for rows in result.books.intents.values()}
    for marker, requests in bills.items():
        reserved = max((row.reserved or _NOTHING for row in intents.get(marker, ())), default=None)
        if reserved is not None and max(map(cost, requests)) > reserved * MICRO:
            yield f"{marker}: {max(map(cost, requests))} micro-USD were billed, and {reserved * MICRO} reserved"  # fmt: skip
    for id, (row, *_) in result.books.finals.items():
        if row.tags[0] in lost:
            continue
        billed = sum((cost(bill) for bill in bills.get(row.tags[0], ())), _NOTHING)
        most = ((row.cost or _NOTHING) + (row.reserved or _NOTHING)) * MICRO
        if billed > most:
            yield f"{id}: {billed} micro-USD were billed, and the ledger has {most} at most"


def _check_budget(
    result: BudgetTrialResult,
    bills: Mapping[str, list[BilledRequest]],
    subject: str,
    limit: Decimal,
    *,
    forgets: bool,
    is_exact: bool,
) -> Iterator[str]:
    """A budget counts at least what is billed, and neither passes its limit."""
    key = subject.partition("=")[2]
    markers = [marker for marker, one in result.outcomes.items() if not key or one.key == key]
    billed = sum((cost(bill) for marker in markers for bill in bills.get(marker, ())), _NOTHING)
    counts = [value for name, value in result.used.items() if name.split("|")[2] == subject]
    used = sum(counts)
    if billed > limit:
        yield f"{subject}: {billed} micro-USD were billed of {limit}"
    if used < billed and (counts or not forgets):  # a counter begins with a call
        yield f"{subject}: {billed} micro-USD were billed, and {used} are counted"
    # A counter takes each bill in whole micro-USD, rounded up.
    if (
        is_exact
        and used >= billed + max(1, len(markers))
        and not _find_unknown(result) & set(markers)
    ):
        yield f"{subject}: {billed} micro-USD were billed, all known, and {used} are counted"
    if used > limit:
        yield f"{subject}: {used} micro-USD are counted of {limit}"


def _find_unknown(result: BudgetTrialResult) -> set[str]:
    """Return the markers of calls of which the ledger does not know the whole cost."""
    return {
        row.tags[0]
        for row, *_ in result.books.finals.values()
        if row.cost is None or row.wasted is None or row.estimate
    }


def find_left(used: Mapping[str, int], subject: str, usd: Decimal) -> int:
    """Return the micro-USD that counters leave of a budget; 0 before the first call of a start.

    A counter in memory then begins with what the ledger has.
    """
    counts = [value for name, value in used.items() if name.split("|")[2] == subject]
    return int(usd * MICRO) - sum(counts) if counts else 0
