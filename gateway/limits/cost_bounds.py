"""The most that a call may use, or what it usually uses: tokens, and USD at its plan's prices.

Also what ended calls have used of limits and budgets.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from gateway.core.call import Call
from gateway.core.ledger_rows import FinalRow
from gateway.core.price import Price, compute_reservation, compute_token_slopes
from gateway.core.prompt import Prompt
from gateway.core.rates import EXACT_CONTEXT
from gateway.core.target import Target
from gateway.core.units import UnitBounds
from gateway.limits.counters import EndedCall

type BoundGap = Literal["output", "input", "price", "operation"]
"""The reason why a cost has no bound: no cap on the answer, no window for the prompt, no price, or
an operation whose request does not show its cost."""

_MICRO_PER_USD = Decimal(1_000_000)
_NO_UNITS: UnitBounds = {}
_MAX_SLOPES = 4096
_SLOPES: dict[int, tuple[Price, tuple[int, int] | None]] = {}
"""The token slopes of each price, by the `id` of the price. Every call needs them, and integer
arithmetic is ten times as fast as decimals."""


def to_micro_usd(cost: Decimal) -> int:
    """Return micro-USD, rounded up, so that no fraction overspends a budget."""
    return math.ceil(EXACT_CONTEXT.multiply(cost, _MICRO_PER_USD))


def compute_max_cost(
    targets: Sequence[Target],
    prompt_bound: int | None,
    prompt: Prompt,
    timestamp: float,
    *,
    has_answer: bool = True,
    units: UnitBounds = _NO_UNITS,
) -> int | None:
    """Return the micro-USD that a call costs at most at the dearest target.

    None if the cost of one target has no bound. `prompt_bound` is the most tokens of the prompt;
    None is as many as the window of a model has. `timestamp` is in seconds since the epoch.
    `has_answer` is True if output tokens are billed; embeddings have none. `units` are the most of
    each unit that the call may use.
    """
    highest = 0
    # Prompts of text alone, in the standard service tier, as most.
    is_plain = (
        prompt.service is None and not (prompt.images or prompt.files or prompt.audio) and not units
    )
    for target in targets:
        price, prompt_tokens = target.price, target.compute_max_input(prompt_bound)
        has_price = price is not None
        if price is None:
            price = target.bound_price
        if price is None or (prompt_tokens is None and not units):
            return None
        max_output = (
            target.compute_max_output(prompt.max_output, prompt.choices) if has_answer else 0
        )
        cached = _SLOPES.get(id(price))
        slopes = cached[1] if cached is not None and cached[0] is price else _cache_slopes(price)
        if slopes is not None and is_plain and prompt_tokens is not None and max_output is not None:
            cost = -(-(prompt_tokens * slopes[0] + max_output * slopes[1]) // 1_000_000)
        else:
            exact_cost = compute_reservation(
                price.find_in_force(timestamp),
                prompt_tokens,
                max_output,
                # A bound for unknown prices holds for all tokens, in every service tier.
                prompt.service if has_price else None,
                prompt.media if has_price else (),
                units,
            )
            if exact_cost is None:
                return None
            cost = to_micro_usd(exact_cost)
        if cost > highest:  # noqa: PLR1730 - runs for every call
            highest = cost
    return highest


def _cache_slopes(price: Price) -> tuple[int, int] | None:
    if len(_SLOPES) >= _MAX_SLOPES:
        _SLOPES.clear()
    slopes = compute_token_slopes(price)
    _SLOPES[id(price)] = price, slopes
    return slopes


class UsageBound(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a call that limits need: its key, and how much it may use."""

    call: Call
    prompt: Prompt
    prompt_tokens: int
    """Estimated tokens of the prompt."""
    prompt_bound: int | None
    """The most tokens of the prompt; None if the request does not show it."""
    end_user: str | None = None
    """The name under which the end user is counted; None if the call names none."""
    units: UnitBounds = {}
    """The most that the call may use of each unit that its provider bills beside tokens."""

    def compute_max_cost(self, targets: Sequence[Target]) -> int | None:
        """Return the micro-USD that the call costs at most; None if one target has no bound."""
        call, prompt = self.call, self.prompt
        if call.operation == "count_tokens":
            return 0
        has_answer = call.operation != "embeddings"
        return compute_max_cost(
            targets,
            self.prompt_bound,
            prompt,
            call.received_at,
            has_answer=has_answer,
            units=self.units,
        )

    def find_gap(self, targets: Sequence[Target]) -> BoundGap:
        """Find out what would bound the cost at one of the targets: the least that is missing."""
        prompt = msgspec.structs.replace(self.prompt, max_output=1)
        capped_bound = msgspec.structs.replace(self, prompt=prompt)
        sized_bound = msgspec.structs.replace(capped_bound, prompt_bound=1)
        bounds: tuple[tuple[BoundGap, UsageBound], ...] = (
            ("output", capped_bound),
            ("input", sized_bound),
        )
        for gap, usage_bound in bounds:
            if any(usage_bound.compute_max_cost((target,)) is not None for target in targets):
                return gap
        return "price"

    def compute_tokens(self, expected_output: int) -> int:
        """Return the tokens of the prompt and of the answer.

        The answer has as many as the client allows, else `expected_output`.
        """
        if self.call.operation != "generate":
            return 0 if self.call.operation == "count_tokens" else self.prompt_tokens
        max_output = self.prompt.max_output
        return self.prompt_tokens + (
            expected_output if max_output is None or max_output < 0 else max_output
        )

    def compute_expected_cost(self, targets: Sequence[Target], expected_output: int) -> int | None:
        """Return the micro-USD of a call whose answer has `expected_output` tokens.

        None if the cost of one target has no bound.
        """
        prompt = msgspec.structs.replace(self.prompt, max_output=expected_output)
        if self.call.operation != "generate":
            return self.compute_max_cost(targets)
        return compute_max_cost(targets, self.prompt_tokens, prompt, self.call.received_at)


def make_ended_call(row: FinalRow) -> EndedCall:
    """Return what a call has used.

    Tokens are None if unknown, and the cost is None if a part is unknown, estimated or not final.
    The call then stays charged with what it reserved.
    """
    is_known = row.cost is not None and row.wasted is not None
    is_complete = is_known and not row.estimate and row.reserved is None
    micro_usd = to_micro_usd(row.cost) if is_complete and row.cost is not None else None
    return row.id, _count_tokens(row), micro_usd


def _count_tokens(row: FinalRow) -> int | None:
    """Return the tokens that providers worked on for a call; None if unknown."""
    if row.cache == "hit" or row.attempts == 0:
        return 0
    if row.input is None or row.output is None:
        return None
    cached_tokens = (row.cache_read or 0) + (row.cache_write or 0)
    return row.input + row.output + (row.reasoning or 0) + cached_tokens
