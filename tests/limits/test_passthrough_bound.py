"""The most that pass-through calls may cost."""

from decimal import Decimal

import pytest

from gateway.core.call import Call
from gateway.core.passthrough import Billing
from gateway.core.price import Price
from gateway.core.prompt import Prompt
from gateway.core.rates import NO_RATES
from gateway.core.target import Provider, Target
from gateway.limits.passthrough_bound import PassThroughBound

PROVIDER = Provider(name="p", urls={})
PRICED = Target(
    provider=PROVIDER,
    model="m",
    price=Price(version="v", rates=NO_RATES, units={"image": Decimal("0.04")}),
)
UNPRICED = Target(provider=PROVIDER, model="m")


def bound(billing: Billing, job: int | None = None) -> PassThroughBound:
    call = Call(
        id="c", dialect="openai-chat", operation="x", body=b"", received_at=0.0, started_at=0.0
    )
    return PassThroughBound(
        call=call,
        prompt=Prompt(model="m"),
        prompt_tokens=0,
        prompt_bound=None,
        units={"image": Decimal(2)},
        billing=billing,
        job_micro_usd=job,
    )


@pytest.mark.parametrize(
    ("billing", "target", "micro_usd"),
    [
        ("free", UNPRICED, 0),
        ("units", PRICED, 80_000),
        ("usage", PRICED, 80_000),
        ("units", UNPRICED, None),
        ("unknown", PRICED, None),
        ("job", PRICED, None),
    ],
)
def test_a_call_costs_at_most_what_its_units_cost(
    billing: Billing, target: Target, micro_usd: int | None
) -> None:
    assert bound(billing).compute_max_cost([target]) == micro_usd
    assert bound(billing).compute_expected_cost([target], 1000) == micro_usd


def test_a_job_costs_at_most_what_its_file_says() -> None:
    assert bound("job", 500).compute_max_cost([PRICED]) == 500


@pytest.mark.parametrize(
    ("billing", "gap"), [("job", "operation"), ("unknown", "operation"), ("usage", "price")]
)
def test_what_would_bound_the_cost_depends_on_how_it_is_billed(billing: Billing, gap: str) -> None:
    assert bound(billing).find_gap((UNPRICED,)) == gap
