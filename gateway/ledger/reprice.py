"""Price a row again, from its token counts: a missing or wrong price has been corrected."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from gateway.core.call_accounting import BILLED_PRICE_VERSION
from gateway.core.ledger_rows import AttemptRow, FinalRow, RepriceRow
from gateway.core.price import Price, compute_baseline_cost, compute_cost
from gateway.core.usage import Usage

_ZERO = Decimal(0)
_ANSWERED_STATES = frozenset({"settled", "estimated", "aborted", "cache_hit"})


def price_again(
    entry: FinalRow,
    price: Price | None,
    baseline_price: Price | None,
    now: float,
    *,
    attempts: Sequence[AttemptRow] = (),
    reprice_known: bool = True,
) -> RepriceRow | None:
    """Return a reprice row: an answer's cost at a price, and its tokens' cost at the baseline's.

    The prices in force when the call was received count. Both prices are whole, as of
    `Target.price`. A call that named its model is compared with that model's own price. Returns
    None if nothing changes. A known amount never becomes unknown, and failed attempts, given in
    `attempts`, keep their cost. A known cost is computed again only with `reprice_known`. A bill
    that the provider stated stays the cost: then only the gateway's own sum beside it changes.
    """
    if entry.state == "failed":
        return _reprice_failed_call(entry, baseline_price, now)
    usage = read_usage(entry)
    if usage is None or entry.state not in _ANSWERED_STATES:
        return None
    target_price = price.find_in_force(entry.at) if price is not None else None
    comparison_price = (
        baseline_price.find_in_force(entry.at) if baseline_price is not None else None
    )
    earlier_cost = _sum_earlier_attempts(entry, attempts)
    keeps_cost = (
        entry.cache == "hit"
        or earlier_cost is None
        or (entry.cost is not None and not reprice_known)
    )
    answer_cost = None if keeps_cost else compute_cost(usage, target_price)
    total, estimate, version = entry.cost, entry.estimate, entry.price
    computed_cost = entry.computed_cost
    if entry.billed is not None:
        if answer_cost is not None:
            computed_cost = answer_cost
        answer_cost = None if keeps_cost else entry.billed
    if (
        answer_cost is not None
        and earlier_cost is not None
        and answer_cost + earlier_cost[0] != entry.cost
    ):
        total = answer_cost + earlier_cost[0]
        estimate = _estimate_answer_cost(entry, usage, target_price, answer_cost) + earlier_cost[1]
        version = _find_price_version(entry, usage, target_price)
    new_baseline = compute_baseline_cost(usage, comparison_price, target_price)
    baseline = entry.baseline if new_baseline is None else new_baseline
    if (total, baseline, computed_cost) == (entry.cost, entry.baseline, entry.computed_cost):
        return None
    return RepriceRow(
        id=entry.id,
        at=now,
        cost=total,
        estimate=estimate,
        baseline=baseline,
        computed_cost=computed_cost,
        price=version,
    )


def read_usage(entry: FinalRow) -> Usage | None:
    """Return the usage of a row's answer; None if it was not counted."""
    if (entry.input is None or entry.output is None) and not entry.units:
        return None
    cache_writes = entry.cache_write_by or ({"": entry.cache_write} if entry.cache_write else {})
    return Usage(
        input=entry.input,
        cache_read=entry.cache_read,
        cache_write=cache_writes,
        output=entry.output,
        reasoning=entry.reasoning,
        tools=entry.tools,
        media=entry.media,
        units=entry.units,
        service=entry.service,
        billed=entry.billed,
    )


def _sum_earlier_attempts(
    entry: FinalRow, attempts: Sequence[AttemptRow]
) -> tuple[Decimal, Decimal] | None:
    """Return USD of the attempts before the answer, as far as known, and the estimated part of it.

    None if they are part of the row's cost and nothing separates them.
    """
    estimated_cost = entry.estimate if entry.usage == "provider" else None
    if len(attempts) == entry.attempts - 1:
        cost = sum((attempt.cost or _ZERO for attempt in attempts), _ZERO)
        estimate = sum((attempt.estimate or _ZERO for attempt in attempts), _ZERO)
        if entry.wasted in (None, cost):
            return cost, estimate
    if entry.wasted is not None:
        return entry.wasted, estimated_cost or _ZERO
    return (_ZERO, _ZERO) if entry.cost is None else None


def _reprice_failed_call(entry: FinalRow, baseline: Price | None, now: float) -> RepriceRow | None:
    """Set the baseline cost of a failed call to zero: it would have had no answer there either."""
    if baseline is None or entry.baseline is not None or entry.cost is None:
        return None
    return RepriceRow(
        id=entry.id,
        at=now,
        cost=entry.cost,
        estimate=entry.estimate,
        baseline=_ZERO,
        price=entry.price,
    )


def _find_price_version(entry: FinalRow, usage: Usage, target_price: Price | None) -> str | None:
    if entry.billed is not None:
        return BILLED_PRICE_VERSION
    service_price = target_price.find_service(usage.service) if target_price is not None else None
    return service_price.version if service_price is not None else None


def _estimate_answer_cost(
    entry: FinalRow, usage: Usage, target_price: Price | None, answer_cost: Decimal
) -> Decimal:
    """Return USD of an answer that rest on estimates; for a partial answer only its output."""
    if entry.usage == "provider" or entry.billed is not None:
        return _ZERO
    if entry.usage != "partial" or usage.input is None:
        return answer_cost
    input_cost = compute_cost(
        msgspec.structs.replace(usage, output=0, reasoning=None), target_price
    )
    return answer_cost - (input_cost or _ZERO)
