"""The most that the requests of a batch may cost, by what the gateway has read of its file.

A provider whose price of batches is unknown asks at most its usual price.
"""

from collections.abc import Mapping
from decimal import Decimal

from gateway.core.batch_file import BatchModelFacts
from gateway.core.price import compute_reservation
from gateway.core.prompt_bound import FRAMING_TOKENS, IMAGE_TOKENS
from gateway.core.target import Target


def compute_batch_cost(
    models: Mapping[str, BatchModelFacts],
    targets: Mapping[str, Target],
    timestamp: float,
    *,
    has_answers: bool = True,
) -> Decimal | None:
    """Return the USD that a batch costs at most; None if nothing bounds it.

    `targets` has the target of each model. `timestamp` is in seconds since the epoch. Without
    `has_answers` no output is billed, as for embeddings.
    """
    costs = [
        _compute_model_cost(facts, targets[model], timestamp, has_answers=has_answers)
        for model, facts in models.items()
    ]
    known_costs = [cost for cost in costs if cost is not None]
    return sum(known_costs, Decimal(0)) if len(known_costs) == len(costs) else None


def _compute_model_cost(
    facts: BatchModelFacts, target: Target, timestamp: float, *, has_answers: bool
) -> Decimal | None:
    price = target.price or target.bound_price
    output_tokens = _count_output(facts, target) if has_answers else 0
    tokens = _count_prompts(facts, target)
    if price is None or output_tokens is None or tokens is None:
        return None
    prompt_tokens, largest_tokens = tokens
    media = [name for name, count in (("image", facts.images), ("audio", facts.sounds)) if count]
    in_force = price.find_in_force(timestamp)
    # The largest prompt says which steps of the price may hold.
    prompt_cost = compute_reservation(in_force, largest_tokens, 0, media=media)
    largest_cost = compute_reservation(in_force, largest_tokens, output_tokens, media=media)
    if prompt_cost is None or largest_cost is None:
        return None
    cost = largest_cost + prompt_cost * (prompt_tokens - largest_tokens) / largest_tokens
    factor = target.provider.batch_price
    return cost if factor is None else cost * factor


def _count_prompts(facts: BatchModelFacts, target: Target) -> tuple[int, int] | None:
    """Return the most tokens of all prompts, and of one; None if a prompt has no bound."""
    total = facts.prompt_bytes + IMAGE_TOKENS * facts.images + FRAMING_TOKENS * facts.requests
    largest = facts.largest_bytes + IMAGE_TOKENS * facts.most_images + FRAMING_TOKENS
    if facts.unsized_requests:
        window = target.facts.prompt_window
        if window is None:
            return None
        total += window * facts.unsized_requests
        largest = max(largest, window)
    return max(total, largest), largest


def _count_output(facts: BatchModelFacts, target: Target) -> int | None:
    """Return the most tokens of all answers; None if they have no bound."""
    total = facts.capped_tokens
    if facts.uncapped_answers:
        cap = target.compute_max_output(None, 1)
        if cap is None:
            return None
        total += cap * facts.uncapped_answers
    if not target.provider.caps_reasoning:
        if target.model_limit is None:
            return None
        total += target.model_limit * facts.answers
    return total
