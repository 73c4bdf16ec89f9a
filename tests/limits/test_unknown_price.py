"""The price that hard budgets reserve for models without one."""

from decimal import Decimal

import msgspec
import pytest

from gateway.core.price import Price
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import Provider, Target
from gateway.limits.cost_bounds import compute_max_cost

UNPRICED = Target(
    provider=Provider(name="a", urls={}),
    model="x",
    max_output=10,
    bound_price=Price(rates=Rates(input=Decimal(3), output=Decimal("9.5")), version="unknown"),
)


@pytest.mark.parametrize(
    ("prompt", "micro_usd"),
    [
        (Prompt(model=""), 100 * 3 + 95),
        (Prompt(model="", service="priority"), 100 * 3 + 95),
        (Prompt(model="", images=1, audio=1, files=1), 100 * 3 + 95),
    ],
)
def test_a_price_to_reserve_counts_every_token_in_every_service_tier(
    prompt: Prompt, micro_usd: int
) -> None:
    assert compute_max_cost((UNPRICED,), 100, prompt, 0.0) == micro_usd
    assert compute_max_cost((UNPRICED,), 100, prompt, 0.0, has_answer=False) == 300
    without = msgspec.structs.replace(UNPRICED, bound_price=None)
    assert compute_max_cost((without,), 100, prompt, 0.0) is None
    priced = msgspec.structs.replace(UNPRICED, price=UNPRICED.bound_price, bound_price=None)
    is_plain = prompt.service is None and not prompt.images
    assert (compute_max_cost((priced,), 100, prompt, 0.0) is None) is not is_plain
