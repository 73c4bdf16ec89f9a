"""The most that batches may cost."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.core.batch_file import BatchModelFacts
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts, Provider, Target
from gateway.limits.job_bound import compute_batch_bound

PRICE = Price(version="v", rates=Rates(input=Decimal(1), output=Decimal(10)))
FREE_OUTPUT = Price(version="v", rates=Rates(input=Decimal(1), output=Decimal(0)))


def target(
    price: Price | None = PRICE, factor: Decimal | None = None, *, caps: bool = True, **more: Any
) -> Target:
    provider = Provider(name="p", urls={}, batch_price=factor, caps_reasoning=caps)
    bound_price = more.pop("bound_price", None)
    return Target(
        provider=provider, model="m", price=price, bound_price=bound_price, facts=ModelFacts(**more)
    )


CAPPED = BatchModelFacts(requests=2, prompt_bytes=1000, capped_tokens=100)
PROMPTS = 1000 + 2 * 2000


@pytest.mark.parametrize(
    ("facts", "model", "micro_usd"),
    [
        (CAPPED, target(), PROMPTS + 1000),
        (CAPPED, target(factor=Decimal("0.5")), (PROMPTS + 1000) / 2),
        (CAPPED, target(price=None), None),
        (CAPPED, target(price=None, bound_price=PRICE), PROMPTS + 1000),
        (BatchModelFacts(requests=1, images=1), target(), 2000 + 20_000),
        (BatchModelFacts(requests=1, uncapped_answers=2), target(max_output=500), 2000 + 10_000),
        (BatchModelFacts(requests=1, uncapped_answers=1), target(), None),
        (BatchModelFacts(requests=1, uncapped_answers=1), target(FREE_OUTPUT), 2000),
        (BatchModelFacts(requests=1, unsized_requests=1), target(context=9000), 2000 + 9000),
        (BatchModelFacts(requests=1, unsized_requests=1), target(), None),
        (CAPPED, target(caps=False, max_output=50), PROMPTS + 1000 + 1000),
        (CAPPED, target(caps=False), None),
    ],
)
def test_a_batch_costs_at_most_what_its_requests_allow(
    facts: BatchModelFacts, model: Target, micro_usd: float | None
) -> None:
    bound = compute_batch_bound({"m": facts}, {"m": model}, 0.0)
    expected = None if micro_usd is None else Decimal(str(micro_usd)) / 1_000_000
    assert bound == expected


def test_the_models_of_a_batch_add_up() -> None:
    facts = {"a": CAPPED, "b": CAPPED}
    assert compute_batch_bound(facts, {"a": target(), "b": target()}, 0.0) == Decimal("0.012")
