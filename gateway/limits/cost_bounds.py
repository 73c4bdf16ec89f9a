"""How much a call may use at most, or usually does: tokens, and money at the prices of its plan.

What calls that are over have used of limits and budgets.
"""

import math
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from gateway.core.call import Call
from gateway.core.ledger_rows import FinalRow
from gateway.core.price import Price, reserve, slope
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects.openai_responses.encode import LEAST
from gateway.limits.counters import End

_MICRO = Decimal(1_000_000)
_FRAME = 1_000
"""Tokens that stand around what a request says."""
_IMAGE = 20_000
"""Tokens of an image, at most: the largest that providers document, and more."""
_MOST = 4096
_SLOPES: dict[int, tuple[Price, tuple[int, int] | None]] = {}
"""By price: it is asked for every call, and an integer is worked out ten times as fast."""


def bound(prompt: Prompt, body: bytes) -> int:
    """Tokens of a prompt at most: no token is shorter than a byte of text."""
    # A sign is found ten times as fast as two.
    plain = body.isascii() and (b"\\" not in body or b"\\u" not in body)
    text = prompt.chars if plain else 4 * prompt.chars
    media = len(body) if prompt.files or prompt.audio else 0
    return text + _FRAME + _IMAGE * prompt.images + media


def micro(cost: Decimal) -> int:
    """Micro-USD, rounded up: a budget is never overspent by a fraction."""
    return math.ceil(cost * _MICRO)


def dearest(
    targets: Sequence[Target], prompt: int, asked: Prompt, at: float, *, answers: bool = True
) -> int | None:
    """Micro-USD that a call costs at most at the dearest of targets; None where one has no bound.

    `prompt` is the tokens that it reads at most, `at` seconds since the epoch; `answers`: it is
    answered in tokens, as vectors are not.
    """
    found, plain, cap = 0, asked.service is None, asked.max_output
    if cap is not None and 0 < cap < LEAST:
        cap = LEAST  # a provider may be asked in a dialect that takes no smaller cap
    for target in targets:
        price = target.price
        if price is None:
            return None
        most = target.longest(cap, asked.choices) if answers else 0
        known = _SLOPES.get(id(price))
        slopes = known[1] if known is not None and known[0] is price else _slopes(price)
        if slopes is not None and plain and most is not None:
            cost = -(-(prompt * slopes[0] + most * slopes[1]) // 1_000_000)
        else:
            exact = reserve(price.on(at), prompt, most, asked.service)
            if exact is None:
                return None
            cost = micro(exact)
        if cost > found:  # noqa: PLR1730 - asked for every call
            found = cost
    return found


def _slopes(price: Price) -> tuple[int, int] | None:
    if len(_SLOPES) >= _MOST:
        _SLOPES.clear()
    found = slope(price)
    _SLOPES[id(price)] = price, found
    return found


class UsageBound(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of those who count: who it is, and how much it may use."""

    call: Call
    prompt: Prompt
    tokens: int
    """Estimated, of its prompt."""

    def most(self, targets: Sequence[Target]) -> int | None:
        """Micro-USD at most."""
        call, asked = self.call, self.prompt
        if call.operation == "count_tokens":
            return 0
        answers = call.operation == "generate"
        return dearest(targets, bound(asked, call.body), asked, call.received_at, answers=answers)

    def capped(self, targets: Sequence[Target]) -> bool:
        """True if a cap on its answer would bound what it costs at one of some targets."""
        prompt = msgspec.structs.replace(self.prompt, max_output=LEAST)
        asked = msgspec.structs.replace(self, prompt=prompt)
        return any(asked.most((target,)) is not None for target in targets)

    def reads(self, output: int) -> int:
        """Tokens that it takes: of its prompt, and of what it asks for or of `output`."""
        if self.call.operation != "generate":
            return 0 if self.call.operation == "count_tokens" else self.tokens
        asked = self.prompt.max_output
        return self.tokens + (output if asked is None or asked < 0 else asked)

    def usual(self, targets: Sequence[Target], output: int) -> int | None:
        """Micro-USD where it answers as others do, with so many tokens of output."""
        asked = msgspec.structs.replace(self.prompt, max_output=output)
        if self.call.operation != "generate":
            return self.most(targets)
        return dearest(targets, self.tokens, asked, self.call.received_at)


def end_of(entry: FinalRow) -> End:
    """What a call has used, where all of it is known: else it stays charged with what it held."""
    known = entry.cost is not None and entry.wasted is not None and not entry.estimate
    used = micro(entry.cost) if known and entry.cost is not None else None
    return entry.id, _tokens(entry), used


def _tokens(entry: FinalRow) -> int | None:
    """Tokens that providers worked on for a call; None where nobody knows."""
    if entry.cache == "hit" or entry.attempts == 0:
        return 0
    if entry.input is None or entry.output is None:
        return None
    cached = (entry.cache_read or 0) + (entry.cache_write or 0)
    return entry.input + entry.output + (entry.reasoning or 0) + cached
