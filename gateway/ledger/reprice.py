"""A row priced again, from what it counted: a price that was missing or wrong has come."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from gateway.core.ledger_rows import AttemptRow, FinalRow, RepriceRow
from gateway.core.price import Price, compared, cost
from gateway.core.usage import Usage

_NOTHING = Decimal(0)
_ANSWERED = frozenset({"settled", "estimated", "aborted", "cache_hit"})


def price_again(
    entry: FinalRow,
    price: Price | None,
    baseline_price: Price | None,
    now: float,
    *,
    attempts: Sequence[AttemptRow] = (),
    every: bool = True,
) -> RepriceRow | None:
    """What an answer costs at a price, and what its tokens would have cost at the baseline's.

    The prices in force when the call was received count. Both are whole, as of `Target.price`; a
    call that named its model is compared with that one's own. None where nothing changes: what is
    known is never unlearnt, and failed attempts keep what they cost; `attempts` are theirs. A cost
    that is known is found anew with `every` alone.
    """
    if entry.state == "failed":
        return _compared_late(entry, baseline_price, now)
    usage = counted(entry)
    if usage is None or entry.state not in _ANSWERED:
        return None
    own = price.on(entry.at) if price is not None else None
    other = baseline_price.on(entry.at) if baseline_price is not None else None
    before = _before(entry, attempts)
    stays = entry.cache == "hit" or before is None or (entry.cost is not None and not every)
    answer = None if stays else cost(usage, own)
    total, estimate, version = entry.cost, entry.estimate, entry.price
    if answer is not None and before is not None and answer + before[0] != entry.cost:
        total = answer + before[0]
        estimate = _estimate(entry, usage, own, answer) + before[1]
        version = _version(usage, own)
    against = compared(usage, other, own)
    baseline = entry.baseline if against is None else against
    if total == entry.cost and baseline == entry.baseline:
        return None
    return RepriceRow(
        id=entry.id, at=now, cost=total, estimate=estimate, baseline=baseline, price=version
    )


def counted(entry: FinalRow) -> Usage | None:
    """What the answer of a row used; None where it was not counted."""
    if entry.input is None or entry.output is None:
        return None
    written = entry.cache_write_by or ({"": entry.cache_write} if entry.cache_write else {})
    return Usage(
        input=entry.input,
        cache_read=entry.cache_read,
        cache_write=written,
        output=entry.output,
        reasoning=entry.reasoning,
        tools=entry.tools,
        media=entry.media,
        service=entry.service,
    )


def _before(entry: FinalRow, attempts: Sequence[AttemptRow]) -> tuple[Decimal, Decimal] | None:
    """USD of the attempts before the answer, as far as they are known, and what is estimated of it.

    None where they are part of the row's cost and nothing tells them apart.
    """
    guessed = entry.estimate if entry.usage == "provider" else None
    if len(attempts) == entry.attempts - 1:
        cost = sum((one.cost or _NOTHING for one in attempts), _NOTHING)
        estimate = sum((one.estimate or _NOTHING for one in attempts), _NOTHING)
        if entry.wasted in (None, cost):
            return cost, estimate
    if entry.wasted is not None:
        return entry.wasted, guessed or _NOTHING
    return (_NOTHING, _NOTHING) if entry.cost is None else None


def _compared_late(entry: FinalRow, baseline: Price | None, now: float) -> RepriceRow | None:
    """A call without an answer would have had none on the baseline either, for nothing."""
    if baseline is None or entry.baseline is not None or entry.cost is None:
        return None
    return RepriceRow(
        id=entry.id,
        at=now,
        cost=entry.cost,
        estimate=entry.estimate,
        baseline=_NOTHING,
        price=entry.price,
    )


def _version(usage: Usage, own: Price | None) -> str | None:
    served = own.serving(usage.service) if own is not None else None
    return served.version if served is not None else None


def _estimate(entry: FinalRow, usage: Usage, own: Price | None, answer: Decimal) -> Decimal:
    """USD of an answer that rest on estimated tokens; of a part, those of all that came out."""
    if entry.usage == "provider":
        return _NOTHING
    if entry.usage != "partial":
        return answer
    told = cost(msgspec.structs.replace(usage, output=0, reasoning=None), own)
    return answer - (told or _NOTHING)
