"""The audit of budgets: compares the provider's bills with clients, Redis and the ledgers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateway.core.ledger_rows import FinalRow
from tests.e2e.budget_provider import BilledRequest, Ended
from tests.e2e.kill_audit import Books

MICRO = 1_000_000
RATES = {"input": Decimal(1), "cache_read": Decimal("0.1"), "output": Decimal(4)}
"""USD per million tokens, which is micro-USD per token."""
_NOTHING = Decimal(0)
_MARGIN = 0.5
"""Seconds that a provider may need to notice a closed connection, on a busy machine."""


@dataclass
class ClientOutcome:
    """The outcome of a call as its client saw it."""

    key: str
    gateway: int
    status: int = 0
    """0 if no answer came."""
    code: str = ""
    attempts: int = 0
    left: bool = False
    id: str = ""


@dataclass
class BudgetTrialResult:
    """The records and counts of one round."""

    budget: Decimal
    """The budget over all keys, in USD."""
    outcomes: dict[str, ClientOutcome] = field(default_factory=dict)
    """Outcomes by marker."""
    kills: int = 0
    peak: int = 0
    """The most calls that clients had open at once."""
    bills: list[BilledRequest] = field(default_factory=list)
    ended: dict[str, Ended] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    """Micro-USD by counter name."""
    books: Books = field(default_factory=Books)
    holds: int = 0
    """Reservations left over from calls whose gateway was killed."""
    places: int = 0
    """Concurrency places that these reservations keep until they expire."""
    lost: int = 0
    """Times that a gateway lost Redis."""
    short: Decimal = Decimal(0)
    """Micro-USD billed beyond the ledger's estimates."""
    wrong: list[str] = field(default_factory=list)
    """Disagreements, one a line."""


_REFUSALS = ("insufficient_quota", "budget_busy", "rate_limit_exceeded")


def cost(bill: BilledRequest) -> Decimal:
    """Return the micro-USD of a request, tokens times rates, without any of the gateway's code."""
    tokens_by_kind = {"input": bill.input, "cache_read": bill.cached, "output": bill.output}
    return sum((RATES[name] * tokens for name, tokens in tokens_by_kind.items()), _NOTHING)


def audit(result: BudgetTrialResult, limits: Mapping[str, Decimal], places: int) -> list[str]:
    """Return every disagreement, one a line. `limits` maps the subject of a counter to its USD."""
    bills_by_marker: dict[str, list[BilledRequest]] = defaultdict(list)
    for bill in result.bills:
        bills_by_marker[bill.marker].append(bill)
    wrong = [line for subject, usd in limits.items() for line in check_budget(result, subject, usd)]
    for marker, outcome in result.outcomes.items():
        if outcome.status == 429 and outcome.code not in _REFUSALS:
            wrong.append(f"{marker}: refused with {outcome.code}")
        if outcome.status == 429 and len(bills_by_marker[marker]) != outcome.attempts:
            count = len(bills_by_marker[marker])
            wrong.append(
                f"{marker}: refused after {outcome.attempts} attempts, and {count} were sent"
            )
    for rows in result.books.finals.values():
        bills = bills_by_marker[rows[0].tags[0]] if rows[0].tags else []
        wrong += _agrees(result, rows[0], sum(map(cost, bills), _NOTHING))
    if (most := peak(result)) > places:
        wrong.append(f"{most} calls at a time, of {places}")
    return wrong


def check_budget(result: BudgetTrialResult, subject: str, usd: Decimal) -> Iterator[str]:
    """Yield disagreements about a budget: the bills and the counter must both stay within it."""
    limit, key = usd * MICRO, subject.partition("=")[2]
    mine = [bill_ for bill_ in result.bills if not key or result.outcomes[bill_.marker].key == key]
    bill = sum(map(cost, mine), _NOTHING)
    used = sum(micro for name, micro in result.used.items() if name.split("|")[2] == subject)
    if bill > limit:
        yield f"{subject}: {bill} micro-USD were billed of {limit}"
    if used < bill:
        yield f"{subject}: {bill} micro-USD were billed, and {used} are counted"
    if used > limit:
        yield f"{subject}: {used} micro-USD are counted of {limit}"


def _agrees(result: BudgetTrialResult, row: FinalRow, bill: Decimal) -> Iterator[str]:
    """Compare a call's ledger row with its bill; a row without a cost costs its reservation."""
    if row.cost is None or row.wasted is None:
        return
    recorded = row.cost * MICRO
    if row.estimate:
        result.short += max(_NOTHING, bill - recorded)
    elif bill != recorded:
        yield f"{row.id}: {bill} micro-USD were billed, and {recorded} are in the ledger"


def peak(result: BudgetTrialResult) -> int:
    """Return the most requests at a time.

    The provider notices late that the gateway left, so such a request counts as ended earlier.
    """
    moves: list[tuple[float, int]] = []
    for bill in result.bills:
        end = result.ended.get(bill.id)
        until = end.at - (_MARGIN if end.left else 0) if end is not None else bill.at
        moves += [(bill.at, 1), (max(bill.at, until), -1)]
    most = now = 0
    for _, by in sorted(moves):
        now += by
        most = max(most, now)
    return most


def count_redis_losses(log: Iterable[Mapping[str, Any]]) -> int:
    """Count the rows of a log that say that a process lost Redis, and counts limits alone."""
    away = "counted in this process alone"
    return sum(row["event"] == "limits" and row["text"].startswith(away) for row in log)


def table(result: BudgetTrialResult) -> list[tuple[str, str]]:
    """Return the counts of each side."""
    outcomes = Counter((item.status, item.code) for item in result.outcomes.values())
    rows = [row for rows in result.books.finals.values() for row in rows]
    fates = Counter(item.fate for item in result.bills)
    billed = sum(map(cost, result.bills), _NOTHING)
    used = next((used for name, used in result.used.items() if name.startswith("usd|all|")), 0)
    return [
        ("budget", f"{int(result.budget * MICRO):,} micro-USD"),
        ("billed by the provider", f"{billed:,}"),
        ("counted in Redis", f"{used:,}"),
        ("billed beyond what was estimated", f"{result.short:,}"),
        ("calls that clients had open at a time", f"{result.peak:,}"),
        *((f"clients: {status} {code}", f"{count:,}") for (status, code), count in sorted(outcomes.items())),
        *((f"provider: {fate}", f"{count:,}") for fate, count in sorted(fates.items())),
        *((f"ledger: {state}", f"{count:,}") for state, count in sorted(Counter(row.state for row in rows).items())),
        ("gateways killed", f"{result.kills}"),
        ("holds of killed calls, charged", f"{result.holds}"),
        ("calls at a time at the provider", f"{peak(result)}"),
        ("Redis lost", f"{result.lost}"),
    ]  # fmt: skip
