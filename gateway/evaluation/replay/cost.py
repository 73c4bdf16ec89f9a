"""What a call would have cost on another target, with what its conversation had cached there.

The prompt is that of the call; of an answer on another tier the tokens are expected. A prompt that
a target has in its prompt cache is read from there, all else is read anew.
"""

from decimal import Context, Decimal
from typing import NamedTuple

import msgspec

from gateway.core.ledger_rows import ReplayRow
from gateway.core.price import Price, Rates, compute_cost
from gateway.core.prompt_cache import MIN_CACHED_TOKENS, caches_automatically
from gateway.core.target import Target
from gateway.core.usage import Usage

EXACT_CONTEXT = Context(prec=100)
"""Digits enough that no sum of prices is ever rounded."""


_CACHE_BLOCK_TOKENS = 256
"""Tokens by which what is read from a cache is less than what is kept: caches have blocks."""


class ReplayedCost(NamedTuple):
    """What a call would have cost, and what of it is the doing of the prompt cache."""

    usd: Decimal | None
    """None where a price is not known."""
    cached_tokens: int
    """Tokens of its prompt that would have been read from the cache."""
    kept_tokens: int
    """Tokens of its prompt that would be in the cache after it."""
    cache_effect_usd: Decimal
    """USD that it costs more, or less where negative, than with as many tokens cached as there
    were."""
    expected_usd: float = 0.0
    """USD of it for an answer whose tokens are those that answers of its tier usually have."""


def count_prompt_tokens(row: ReplayRow) -> int | None:
    """All tokens that went in; None where they are not known."""
    if row.input is None:
        return None
    return row.input + (row.cache_read or 0) + (row.cache_write or 0)


def find_price(target: Target, timestamp: float) -> Price | None:
    """The price of a target at a moment."""
    return None if target.price is None else target.price.find_in_force(timestamp)


def compute_replayed_cost(
    row: ReplayRow, target: Target, cached_tokens: int, output_ratio: float = 1.0
) -> ReplayedCost:
    """Return the cost of a row's call on a target with `cached_tokens` tokens in its prompt cache.

    `output_ratio` is how many times as many tokens the answer is expected to have.
    """
    if output_ratio != 1 and row.output is not None:
        output = round(row.output * output_ratio)
        reasoning = None if row.reasoning is None else round(row.reasoning * output_ratio)
        row = msgspec.structs.replace(row, output=output, reasoning=reasoning)
    prompt_tokens, current_price = count_prompt_tokens(row), find_price(target, row.at)
    if prompt_tokens is None or row.output is None or current_price is None:
        return ReplayedCost(None, 0, 0, Decimal(0))
    rates = current_price.find_rates(prompt_tokens)
    is_kept = _is_prompt_kept(row, rates, prompt_tokens)
    recorded_tokens = min(row.cache_read or 0, prompt_tokens) if is_kept else 0
    cached_tokens = min(cached_tokens, prompt_tokens) if is_kept else 0
    if (
        0
        < recorded_tokens
        < cached_tokens
        <= recorded_tokens + max(_CACHE_BLOCK_TOKENS, prompt_tokens // 20)
    ):
        cached_tokens = recorded_tokens  # nearly all: what is new of a prompt is new everywhere
    usd = compute_cost(
        _build_usage(row, target, prompt_tokens, cached_tokens, is_kept=is_kept), current_price
    )
    unmoved_usd = (
        usd
        if cached_tokens == recorded_tokens
        else compute_cost(
            _build_usage(row, target, prompt_tokens, recorded_tokens, is_kept=is_kept),
            current_price,
        )
    )
    cache_effect_usd = (
        Decimal(0)
        if usd is None or unmoved_usd is None
        else EXACT_CONTEXT.subtract(usd, unmoved_usd)
    )
    expected_usd = 0.0
    if output_ratio != 1 and rates.output is not None:
        expected_usd = float(rates.output) * (row.output + (row.reasoning or 0)) / 1e6
    return ReplayedCost(
        usd, cached_tokens, prompt_tokens if is_kept else 0, cache_effect_usd, expected_usd
    )


def _is_prompt_kept(row: ReplayRow, rates: Rates, prompt_tokens: int) -> bool:
    """Whether a provider keeps the prompt: by itself, or because the client marks what to keep."""
    if rates.cache_read is None or prompt_tokens < MIN_CACHED_TOKENS:
        return False
    return caches_automatically(rates) or bool(row.cache_read or row.cache_write)


def _build_usage(
    row: ReplayRow, target: Target, prompt_tokens: int, cached_tokens: int, *, is_kept: bool
) -> Usage:
    fresh_tokens = prompt_tokens - cached_tokens
    lifetime = next(iter(row.cache_write_by), "")
    return Usage(
        input=0 if is_kept else fresh_tokens,
        cache_read=cached_tokens,
        cache_write={lifetime: fresh_tokens} if is_kept and fresh_tokens else {},
        output=row.output,
        reasoning=row.reasoning,
        tools=row.tools,
        media=row.media,
        # The word of its own provider; elsewhere it is served as everybody is.
        service=row.service if target.name == f"{row.provider}/{row.model}" else None,
    )
