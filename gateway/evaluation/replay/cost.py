"""What a call would have cost on another target, with what its conversation had cached there.

The tokens are those that were used: nobody knows what another model would have written. A prompt
that a target has in its prompt cache is read from there, all else is read anew.
"""

from decimal import Context, Decimal
from typing import NamedTuple

from gateway.core.ledger_rows import ReplayRow
from gateway.core.price import Price, Rates, cost
from gateway.core.prompt_cache import LEAST, alone
from gateway.core.target import Target
from gateway.core.usage import Usage

EXACT = Context(prec=100)
"""Digits enough that no sum of prices is ever rounded."""


_BLOCKS = 256
"""Tokens by which what is read from a cache is less than what is kept: caches have blocks."""


class ReplayedCost(NamedTuple):
    """What a call would have cost, and what of it is the doing of the prompt cache."""

    usd: Decimal | None
    """None where a price is not known."""
    cached: int
    """Tokens of its prompt that would have been read from the cache."""
    kept: int
    """Tokens of its prompt that would be in the cache after it."""
    effect: Decimal
    """USD that it costs more, or less where negative, than with as many tokens cached as there
    were."""


def prompt(row: ReplayRow) -> int | None:
    """All tokens that went in; None where they are not known."""
    if row.input is None:
        return None
    return row.input + (row.cache_read or 0) + (row.cache_write or 0)


def price(target: Target, at: float) -> Price | None:
    """The price of a target at a moment."""
    return None if target.price is None else target.price.on(at)


def bill(row: ReplayRow, target: Target, cached: int) -> ReplayedCost:
    """A row's call on a target that has `cached` tokens of its conversation in its cache."""
    tokens, known = prompt(row), price(target, row.at)
    if tokens is None or row.output is None or known is None:
        return ReplayedCost(None, 0, 0, Decimal(0))
    keeps = _keeps(row, known.at(tokens), tokens)
    before = min(row.cache_read or 0, tokens) if keeps else 0
    cached = min(cached, tokens) if keeps else 0
    if 0 < before < cached <= before + max(_BLOCKS, tokens // 20):
        cached = before  # nearly all: what is new of a prompt is new everywhere
    usd = cost(_usage(row, target, tokens, cached, keeps=keeps), known)
    same = (
        usd if cached == before else cost(_usage(row, target, tokens, before, keeps=keeps), known)
    )
    effect = Decimal(0) if usd is None or same is None else EXACT.subtract(usd, same)
    return ReplayedCost(usd, cached, tokens if keeps else 0, effect)


def _keeps(row: ReplayRow, rates: Rates, tokens: int) -> bool:
    """Whether a provider keeps the prompt: by itself, or because the client marks what to keep."""
    if rates.cache_read is None or tokens < LEAST:
        return False
    return alone(rates) or bool(row.cache_read or row.cache_write)


def _usage(row: ReplayRow, target: Target, tokens: int, cached: int, *, keeps: bool) -> Usage:
    fresh = tokens - cached
    life = next(iter(row.cache_write_by), "")
    return Usage(
        input=0 if keeps else fresh,
        cache_read=cached,
        cache_write={life: fresh} if keeps and fresh else {},
        output=row.output,
        reasoning=row.reasoning,
        tools=row.tools,
        media=row.media,
        # The word of its own provider; elsewhere it is served as everybody is.
        service=row.service if target.name == f"{row.provider}/{row.model}" else None,
    )
