"""The cost that a call would have on another target, with its conversation's prompt cache there.

The prompt is that of the call. The tokens of an answer on another tier are expected ones. Tokens
that the target has in its prompt cache cost the price of a cache read, all others the full price.
"""

from decimal import Context, Decimal
from typing import NamedTuple

import msgspec

from gateway.core.ledger_rows import ReplayRow
from gateway.core.price import Price, compute_cost
from gateway.core.prompt_cache import MIN_CACHED_TOKENS, caches_automatically
from gateway.core.rates import Rates
from gateway.core.target import Target
from gateway.core.usage import Usage

EXACT_CONTEXT = Context(prec=100)
"""A context with enough digits that no sum of prices is rounded."""


_CACHE_BLOCK_TOKENS = 256
"""Tokens by which a cache read may fall short of the tokens kept, because caches use blocks."""


class ReplayedCost(NamedTuple):
    """The cost that a call would have, and the part that the prompt cache causes."""

    usd: Decimal | None
    """The cost in USD; None if a price or the call's tokens are unknown."""
    cached_tokens: int
    """Tokens of the prompt that the target would read from its cache."""
    kept_tokens: int
    """Tokens of the prompt that would be in the cache after the call."""
    cache_effect_usd: Decimal
    """USD that the call costs more than with the cached tokens of the log; negative if less."""
    expected_usd: float = 0.0
    """The part of the cost, in USD, that pays for expected tokens of an answer on another tier."""


def count_prompt_tokens(row: ReplayRow) -> int | None:
    """Return all tokens of the prompt, cached or not; None if they are unknown."""
    if row.input is None:
        return None
    return row.input + (row.cache_read or 0) + (row.cache_write or 0)


def find_price(target: Target, timestamp: float) -> Price | None:
    """Return the price of a target at a moment; None if it is unknown."""
    return None if target.price is None else target.price.find_in_force(timestamp)


def compute_replayed_cost(
    row: ReplayRow, target: Target, cached_tokens: int, output_ratio: float = 1.0
) -> ReplayedCost:
    """Return the cost of a row's call on a target with `cached_tokens` tokens in its prompt cache.

    `output_ratio` is the expected number of tokens of the answer, divided by the logged number.
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
        # The logged call read nearly as many tokens from a cache. The rest of the prompt was new,
        # and is new to every target.
        cached_tokens = recorded_tokens
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
    """Return True if the provider would cache the prompt.

    It does so by itself, or because the client marks the parts to cache. It needs a price for
    cache reads, and a prompt of at least `MIN_CACHED_TOKENS` tokens.
    """
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
        # The service tier is a word of the provider that served the call. Another target serves
        # it at its normal one.
        service=row.service if target.name == f"{row.provider}/{row.model}" else None,
    )
