"""The most that a batch may cost, by the facts of its requests."""

from collections.abc import Mapping
from decimal import Decimal

from gateway.core.batch_file import BatchModelFacts
from gateway.core.price import compute_reservation
from gateway.core.prompt_bound import FRAMING_TOKENS, IMAGE_TOKENS
from gateway.core.target import Target

_ONE, _ZERO = Decimal(1), Decimal(0)


def compute_batch_bound(
    models: Mapping[str, BatchModelFacts], targets: Mapping[str, Target], timestamp: float
) -> Decimal | None:
    """Return the USD that a batch costs at most; None if nothing bounds them.

    `targets` has the target of each model in `models`. `timestamp` is in seconds since the epoch.
    A provider whose price of batches is unknown asks at most its usual price.
    """
    total = _ZERO
    for name, facts in models.items():
        cost = _compute_model_bound(facts, targets[name], timestamp)
        if cost is None:
            return None
        total += cost
    return total


def _compute_model_bound(
    facts: BatchModelFacts, target: Target, timestamp: float
) -> Decimal | None:
    """Return the USD that the requests for one model cost at most; None if nothing bounds them."""
    price = target.price or target.bound_price
    if price is None:
        return None
    price = price.find_in_force(timestamp)
    prompt_tokens = _bound_prompts(facts, target)
    if prompt_tokens is None:
        return None
    output_tokens = 0 if price.rates.output == 0 else _bound_answers(facts, target)
    media = ("image",) if facts.images and target.price is not None else ()
    cost = compute_reservation(price, prompt_tokens, output_tokens, None, media)
    factor = target.provider.batch_price
    return None if cost is None else cost * (_ONE if factor is None else factor)


def _bound_prompts(facts: BatchModelFacts, target: Target) -> int | None:
    """Return the most tokens of all prompts, as `gateway.core.prompt_bound` has it for one."""
    tokens = facts.prompt_bytes + IMAGE_TOKENS * facts.images + FRAMING_TOKENS * facts.requests
    if not facts.unsized_requests:
        return tokens
    window = target.compute_max_input(None)
    return None if window is None else tokens + window * facts.unsized_requests


def _bound_answers(facts: BatchModelFacts, target: Target) -> int | None:
    """Return the most tokens of all answers; None if there is no bound."""
    tokens = facts.capped_tokens
    if facts.uncapped_answers:
        longest = target.compute_max_output(None, 1)
        if longest is None:
            return None
        tokens += longest * facts.uncapped_answers
    if not target.provider.caps_reasoning:  # a cap leaves reasoning out
        limit = target.model_limit
        if limit is None:
            return None
        tokens += limit * facts.requests
    return tokens
