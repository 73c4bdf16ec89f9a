"""The most that a call may use, what it usually uses, and what an ended call has used."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.core.call import Call
from gateway.core.price import LaterPrice, Price, PriceStep
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import ModelFacts, Target
from gateway.limits import cost_bounds
from gateway.limits.cost_bounds import UsageBound, compute_max_cost, make_ended_call, to_micro_usd
from tests.limits.observed_limiter import CALL, PRICE, entry, target

PROMPT = Prompt(model="auto", max_output=100)
FLEX = Price(rates=Rates(input=Decimal(7), output=Decimal(8)), version="flex")
DEAR = Price(rates=Rates(input=Decimal(2), output=Decimal(8)), version="dear")


def bound(prompt: Prompt = PROMPT, tokens: int | None = 1_000, **more: Any) -> UsageBound:
    call: Call = msgspec.structs.replace(CALL, **more)
    return UsageBound(call=call, prompt=prompt, prompt_tokens=300, prompt_bound=tokens)


@pytest.mark.parametrize(
    ("usd", "micro_usd"),
    [("0", 0), ("0.000001", 1), ("0.0000010000000000000000000000000000001", 2), ("123456789.0000001", 123_456_789_000_001)],
)  # fmt: skip
def test_every_fraction_of_a_micro_usd_is_rounded_up(usd: str, micro_usd: int) -> None:
    assert to_micro_usd(Decimal(usd)) == micro_usd


@pytest.mark.parametrize(
    ("price", "prompt", "micro_usd"),
    [
        (PRICE, PROMPT, 1_000 + 400),
        (PRICE, Prompt(model="", max_output=100, choices=3), 1_000 + 1_200),
        (Price(rates=Rates(input=Decimal("0.0001"), output=Decimal(0)), version="v"), PROMPT, 1),
        (Price(rates=Rates(input=Decimal("0.001"), output=Decimal(0)), version="v"), PROMPT, 1),
        # The standard tier serves if the requested one is full, so the dearest of both counts.
        (msgspec.structs.replace(PRICE, services={"flex": FLEX}), Prompt(model="", max_output=100, service="flex"), 7_000 + 800),
        (PRICE, Prompt(model="", max_output=100, service="flex"), None),
        (msgspec.structs.replace(PRICE, steps=(PriceStep(999, DEAR.rates),)), PROMPT, 2_000 + 800),
        (msgspec.structs.replace(PRICE, later=(LaterPrice(1e9, DEAR),)), PROMPT, 2_000 + 800),
        (msgspec.structs.replace(PRICE, later=(LaterPrice(1e9 + 1, DEAR),)), PROMPT, 1_000 + 400),
        (PRICE, Prompt(model="", max_output=100, images=1), 1_000 + 400),
        (PRICE, Prompt(model="", max_output=100, audio=1), None),
        (msgspec.structs.replace(PRICE, rates=Rates(input=Decimal(1), output=Decimal(4), media={"audio": Rates(input=Decimal(9))})),
         Prompt(model="", max_output=100, audio=1), 9_000 + 400),
        (msgspec.structs.replace(PRICE, rates=Rates(input=Decimal(1), output=Decimal(4), media={"audio": Rates(input=Decimal(9))})),
         Prompt(model="", max_output=100, files=1), 9_000 + 400),
    ],
)  # fmt: skip
def test_a_call_costs_at_most_its_bound_at_the_prices_of_its_time(
    price: Price, prompt: Prompt, micro_usd: int | None
) -> None:
    assert compute_max_cost((target(price=price),), 1_000, prompt, 1e9) == micro_usd


def test_the_bound_of_a_long_prompt_is_exact() -> None:
    assert compute_max_cost((target(),), 3_000_000, PROMPT, 0.0) == 3_000_400


def test_the_dearest_target_counts_and_one_without_a_bound_is_enough_to_have_none() -> None:
    cheap, dear = target(), target(price=DEAR)
    for targets in ((cheap, dear), (dear, cheap)):
        assert compute_max_cost(targets, 1_000, PROMPT, 0.0) == 2_800
        assert compute_max_cost((*targets, target(price=None)), 1_000, PROMPT, 0.0) is None
    assert compute_max_cost((), 1_000, PROMPT, 0.0) == 0


def test_a_prompt_of_unknown_size_is_as_long_as_the_window() -> None:
    known = target(facts=ModelFacts(context=5_000))
    assert compute_max_cost((known,), None, PROMPT, 0.0) == 5_000 + 400
    assert compute_max_cost((target(),), None, PROMPT, 0.0) is None


def test_an_answer_without_a_cap_has_no_bound_unless_none_is_billed() -> None:
    prompt = Prompt(model="")
    assert compute_max_cost((target(),), 1_000, prompt, 0.0) is None
    assert compute_max_cost((target(),), 1_000, prompt, 0.0, has_answer=False) == 1_000


def test_units_need_no_bound_of_tokens_that_cost_nothing() -> None:
    pages = target(price=Price(rates=Rates(), version="v", units={"page": Decimal("0.001")}))
    units = {"page": Decimal(3)}
    assert compute_max_cost((pages,), None, PROMPT, 0.0, units=units) == 3_000
    assert compute_max_cost((pages,), 1_000, PROMPT, 0.0, units=units) == 3_000
    assert compute_max_cost((target(),), 1_000, PROMPT, 0.0, units=units) is None
    priced = target(price=msgspec.structs.replace(PRICE, units={"page": Decimal("0.001")}))
    assert compute_max_cost((priced,), 1_000, PROMPT, 0.0, units=units) == 1_000 + 400 + 3_000
    assert compute_max_cost((priced,), None, PROMPT, 0.0, units=units) is None


def test_token_slopes_are_those_of_their_price_however_many_prices_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A price that has gone may have left its `id` to another."""
    monkeypatch.setattr(cost_bounds, "_MAX_SLOPES", 2)
    monkeypatch.setattr(cost_bounds, "_SLOPES", {id(PRICE): (DEAR, (2_000_000, 8_000_000))})
    for _ in range(2):
        assert compute_max_cost((target(),), 1_000, PROMPT, 0.0) == 1_400
    assert compute_max_cost((target(price=DEAR),), 1_000, PROMPT, 0.0) == 2_800
    assert {*cost_bounds._SLOPES} == {id(PRICE), id(DEAR)}
    assert compute_max_cost((target(price=FLEX),), 1_000, PROMPT, 0.0) == 7_800
    assert {*cost_bounds._SLOPES} == {id(FLEX)}


@pytest.mark.parametrize(
    ("operation", "max_cost", "expected_cost", "tokens"),
    [
        ("generate", 1_400, 300 + 4 * 70, 400),
        ("embeddings", 1_000, 1_000, 300),
        ("count_tokens", 0, 0, 0),
    ],
)
def test_each_operation_has_its_own_bound(
    operation: str, max_cost: int, expected_cost: int, tokens: int
) -> None:
    usage_bound = bound(operation=operation)
    assert usage_bound.compute_max_cost((target(),)) == max_cost
    assert usage_bound.compute_expected_cost((target(),), 70) == expected_cost
    assert usage_bound.compute_tokens(70) == tokens


@pytest.mark.parametrize(("max_output", "tokens"), [(None, 370), (-1, 370), (0, 300), (1, 301)])
def test_an_answer_without_a_cap_has_the_expected_tokens(
    max_output: int | None, tokens: int
) -> None:
    assert bound(Prompt(model="", max_output=max_output)).compute_tokens(70) == tokens


def test_the_time_of_the_call_and_its_units_count() -> None:
    later = msgspec.structs.replace(PRICE, later=(LaterPrice(CALL.received_at, DEAR),))
    assert bound().compute_max_cost((target(price=later),)) == 2_800
    assert bound().compute_expected_cost((target(price=later),), 70) == 600 + 560
    pages = target(price=msgspec.structs.replace(PRICE, units={"page": Decimal("0.001")}))
    units = msgspec.structs.replace(bound(), units={"page": Decimal(3)})
    assert units.compute_max_cost((pages,)) == 4_400


@pytest.mark.parametrize(
    ("prompt", "tokens", "targets", "gap"),
    [
        (Prompt(model=""), 1_000, (target(),), "output"),
        (Prompt(model=""), None, (target(),), "input"),
        (PROMPT, None, (target(),), "input"),
        (PROMPT, 1_000, (target(price=None),), "price"),
        (Prompt(model=""), None, (target(price=None), target()), "input"),
        (Prompt(model=""), None, (target(), target(facts=ModelFacts(context=900))), "output"),
    ],
)
def test_the_gap_is_the_least_that_would_bound_the_cost_at_one_target(
    prompt: Prompt, tokens: int | None, targets: tuple[Target, ...], gap: str
) -> None:
    assert bound(prompt, tokens).find_gap(targets) == gap


@pytest.mark.parametrize(
    ("more", "tokens", "micro_usd"),
    [
        ({}, 10, 19),
        ({"cost": Decimal("0.0000191")}, 10, 20),
        ({"reasoning": 5, "cache_read": 40, "cache_write": 200}, 255, 19),
        ({"cost": None}, 10, None),
        ({"wasted": None}, 10, None),
        ({"estimate": Decimal(1)}, 10, None),
        ({"reserved": Decimal(1)}, 10, None),
        ({"input": None}, None, 19),
        ({"output": None}, None, 19),
        ({"cache": "hit"}, 0, 19),
        ({"attempts": 0}, 0, 19),
        ({"attempts": 0, "input": None, "cost": Decimal(0)}, 0, 0),
    ],
)
def test_an_ended_call_has_used_what_its_row_knows(
    more: dict[str, Any], tokens: int | None, micro_usd: int | None
) -> None:
    """What is unknown, estimated or not final leaves the call charged with what it reserved."""
    assert make_ended_call(entry("c7", **more)) == ("c7", tokens, micro_usd)
