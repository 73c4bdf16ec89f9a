"""What must hold at the end of a simulation, whatever failed in it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal

from tests.e2e.budget_audit import MICRO, BudgetTrialResult, cost
from tests.e2e.budget_provider import BilledRequest

_NOTHING = Decimal(0)


def check(
    result: BudgetTrialResult, budgets: Mapping[str, Decimal], *, forgets: bool, is_exact: bool
) -> list[str]:
    """Return every broken invariant, one a line.

    `budgets` maps the subject of a counter to its USD. With `forgets`, counters began anew from the
    ledger. With `is_exact`, nothing failed but providers and clients, so budgets count exactly what
    is billed if the bills are known.
    """
    bills: dict[str, list[BilledRequest]] = defaultdict(list)
    for bill in result.bills:
        bills[bill.marker].append(bill)
    wrong = [*_check_rows(result, bills), *_check_bills(result, bills)]
    wrong += _check_reservations(result, bills)
    for subject, usd in budgets.items():
        wrong += _check_budget(
            result, bills, subject, usd * MICRO, forgets=forgets, is_exact=is_exact
        )
    return wrong


def _check_rows(
    result: BudgetTrialResult, bills: Mapping[str, list[BilledRequest]]
) -> Iterator[str]:
    """Each call has one final row; each request of a provider has a row from before it."""
    finals, intents = result.books.finals, result.books.intents
    for id in intents.keys() | finals.keys():
        if len(finals.get(id, ())) != 1:
            yield f"{id}: {len(finals.get(id, ()))} final rows"
    calls_by_marker = defaultdict(set)
    for id, rows in intents.items():
        calls_by_marker[rows[0].tags[0]].add(id)
        attempts = [row.attempt for row in rows]
        if attempts != [*range(1, len(rows) + 1)]:
            yield f"{id}: intents of the attempts {attempts}"
    for marker, requests in bills.items():
        sent = sum(len(intents[id]) for id in calls_by_marker[marker])
        if len(requests) > sent:
            yield f"{marker}: {len(requests)} requests, and {sent} intents"
    for marker, ids in calls_by_marker.items():
        if len(ids) > 1:
            yield f"{marker}: {len(ids)} calls"
    for marker, outcome in result.outcomes.items():
        if outcome.status == 200 and outcome.id not in finals:
            yield f"{marker}: answered, and has no row"


def _check_bills(
    result: BudgetTrialResult, bills: Mapping[str, list[BilledRequest]]
) -> Iterator[str]:
    """The ledger has the provider's bill to the digit, where the provider gave its usage."""
    for id, rows in result.books.finals.items():
        row = rows[0]
        if row.cost is None or row.wasted is None or row.estimate:
            continue
        billed = sum((cost(bill) for bill in bills.get(row.tags[0], ())), _NOTHING)
        if row.cost * MICRO != billed:
            yield f"{id}: {billed} micro-USD were billed, and {row.cost * MICRO} are in the ledger"


def _check_reservations(
    result: BudgetTrialResult, bills: Mapping[str, list[BilledRequest]]
) -> Iterator[str]:
    """No request is billed above its reservation, and no call above what its row leaves open."""
    intents = {rows[0].tags[0]: rows for rows in result.books.intents.values()}
    for marker, requests in bills.items():
        reserved = max((row.reserved or _NOTHING for row in intents.get(marker, ())), default=None)
        if reserved is not None and max(map(cost, requests)) > reserved * MICRO:
            yield f"{marker}: {max(map(cost, requests))} micro-USD were billed, and {reserved * MICRO} reserved"  # fmt: skip
    for id, (row, *_) in result.books.finals.items():
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
