"""Test the most that a batch costs, by what is known of its file."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.core.batch_file import BatchModelFacts
from gateway.core.price import LaterPrice, Price, PriceStep
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts, Provider, Target
from gateway.limits.batch_bound import compute_batch_cost as compute_usd

RATES = Rates(input=Decimal(1), output=Decimal(4))
PRICE = Price(version="v", rates=RATES)
DEAR = Price(version="w", rates=Rates(input=Decimal(2), output=Decimal(8)))
STEPPED = Price(
    version="v",
    rates=RATES,
    steps=(PriceStep(above=50_000, rates=Rates(input=Decimal(2), output=Decimal(8))),),
)


def compute_batch_cost(*arguments: Any, **options: Any) -> int | None:
    """Return the bound in micro-USD."""
    usd = compute_usd(*arguments, **options)
    return None if usd is None else int(usd * 1_000_000)


def make_target(price: Price | None = PRICE, *, caps: bool = True, **facts: Any) -> Target:
    provider = Provider(name="p", urls={}, caps_reasoning=caps)
    return Target(provider=provider, model="m", price=price, facts=ModelFacts(**facts))


def make_facts(**more: int) -> BatchModelFacts:
    """Return three requests of at most 2,000 bytes, with 1,000 tokens of output together."""
    values = {
        "requests": 3, "prompt_bytes": 4000, "largest_bytes": 2000, "answers": 3,
        "capped_tokens": 1000,
    }  # fmt: skip
    return BatchModelFacts(**{**values, **more})


@pytest.mark.parametrize(
    ("facts", "target", "micro_usd"),
    [
        # Each prompt: its bytes, and 2,000 tokens that a provider may add.
        (make_facts(), make_target(), 4000 + 3 * 2000 + 4 * 1000),
        (make_facts(), make_target(STEPPED), 14_000),
        (make_facts(largest_bytes=48_001, prompt_bytes=48_003), make_target(STEPPED), 2 * 54_003 + 8000),
        (make_facts(images=2, most_images=1), make_target(), 14_000 + 2 * 20_000),
        # the largest prompt, with its three images, is beyond the step
        (make_facts(images=3, most_images=3), make_target(STEPPED), 2 * 70_000 + 8000),
        (make_facts(), make_target(Price(version="v", rates=Rates(input=Decimal(1)))), None),
        (make_facts(unsized_requests=1), make_target(context=70_000), 14_000 + 70_000),
        (make_facts(unsized_requests=1), make_target(), None),
        (make_facts(uncapped_answers=2), make_target(max_output=500), 14_000 + 4 * 2 * 500),
        (make_facts(uncapped_answers=2), make_target(), None),
        (make_facts(), make_target(caps=False, max_output=500), 14_000 + 4 * 3 * 500),
        (make_facts(), make_target(caps=False), None),
        (make_facts(), make_target(None), None),
    ],
)  # fmt: skip
def test_a_batch_costs_at_most_what_its_requests_may_use(
    facts: BatchModelFacts, target: Target, micro_usd: int | None
) -> None:
    assert compute_batch_cost({"m": facts}, {"m": target}, 0.0) == micro_usd


def test_a_provider_may_have_a_price_of_batches() -> None:
    """It is a factor of the usual price."""
    target = make_target()
    half = msgspec.structs.replace(
        target, provider=msgspec.structs.replace(target.provider, batch_price=Decimal("0.5"))
    )
    assert compute_batch_cost({"m": make_facts()}, {"m": half}, 0.0) == 7_000


def test_the_price_at_the_time_of_the_batch_counts() -> None:
    later = msgspec.structs.replace(PRICE, later=(LaterPrice(100.0, DEAR),))
    target = make_target(later)
    assert compute_batch_cost({"m": make_facts()}, {"m": target}, 99.0) == 14_000
    assert compute_batch_cost({"m": make_facts()}, {"m": target}, 100.0) == 28_000


def test_embeddings_have_no_output() -> None:
    facts = make_facts(uncapped_answers=3)
    assert compute_batch_cost({"m": facts}, {"m": make_target()}, 0.0, has_answers=False) == 10_000


def test_sound_has_a_rate_of_its_own() -> None:
    """Without one, nothing bounds its cost."""
    audio = Price(
        version="v",
        rates=Rates(
            input=Decimal(1),
            output=Decimal(4),
            media={"audio": Rates(input=Decimal(9), output=Decimal(4))},
        ),
    )
    facts = make_facts(sounds=1)
    assert compute_batch_cost({"m": facts}, {"m": make_target(audio)}, 0.0) == 9 * 10_000 + 4000
    assert compute_batch_cost({"m": facts}, {"m": make_target()}, 0.0) is None


def test_the_models_of_a_batch_add_up_and_one_without_a_bound_has_none() -> None:
    models = {"a": make_facts(), "b": make_facts()}
    targets = {"a": make_target(), "b": make_target()}
    assert compute_batch_cost(models, targets, 0.0) == 28_000
    assert compute_batch_cost(models, {**targets, "b": make_target(None)}, 0.0) is None
    nothing = compute_usd({}, {}, 0.0)
    assert nothing == 0
    assert isinstance(nothing, Decimal)
