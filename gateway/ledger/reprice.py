"""A row priced again, from what it counted: a price that was missing or wrong has come."""

from decimal import Decimal

import msgspec

from gateway.core.entry import Entry, Reprice
from gateway.core.price import Price, compared, cost
from gateway.core.usage import Usage

_NOTHING = Decimal(0)
_ANSWERED = frozenset({"settled", "estimated", "aborted", "cache_hit"})


def price_again(
    entry: Entry,
    price: Price | None,
    baseline_price: Price | None,
    now: float,
    *,
    every: bool = True,
) -> Reprice | None:
    """What an answer costs at a price, and what its tokens would have cost at the baseline's.

    The prices in force when the call was received count. Both are whole, as of `Target.price`; a
    call that named its model is compared with that one's own. None where nothing changes: what is
    known is never unlearnt, and failed attempts keep what they cost. A cost that is known is found
    anew with `every` alone.
    """
    usage = counted(entry)
    if usage is None or entry.state not in _ANSWERED:
        return None
    own = price.on(entry.at) if price is not None else None
    other = baseline_price.on(entry.at) if baseline_price is not None else None
    stays = entry.cache == "hit" or _mixed(entry) or (entry.cost is not None and not every)
    answer = None if stays else cost(usage, own)
    total, estimate, version = entry.cost, entry.estimate, entry.price
    if answer is not None and answer + (entry.wasted or _NOTHING) != entry.cost:
        total = answer + (entry.wasted or _NOTHING)
        estimate = _estimate(entry, usage, own, answer)
        version = _version(usage, own)
    against = compared(usage, other, own)
    baseline = entry.baseline if against is None else against
    if total == entry.cost and baseline == entry.baseline:
        return None
    return Reprice(
        id=entry.id, at=now, cost=total, estimate=estimate, baseline=baseline, price=version
    )


def counted(entry: Entry) -> Usage | None:
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
        service=entry.service,
    )


def _mixed(entry: Entry) -> bool:
    """Whether its cost holds some of a failed attempt that the row does not tell apart."""
    return entry.cost is not None and entry.wasted is None


def _version(usage: Usage, own: Price | None) -> str | None:
    served = own.serving(usage.service) if own is not None else None
    return served.version if served is not None else None


def _estimate(entry: Entry, usage: Usage, own: Price | None, answer: Decimal) -> Decimal:
    """USD of the new cost that rest on estimated tokens; of a part, those of all that came out."""
    if entry.usage == "provider":
        return entry.estimate or _NOTHING  # of failed attempts, which are not priced again
    if entry.usage != "partial":
        return answer
    told = cost(msgspec.structs.replace(usage, output=0, reasoning=None), own)
    return answer - (told or _NOTHING)
