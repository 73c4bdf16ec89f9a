"""`tiergate check` warns of targets that the gateway skips because of a hard budget."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.call import Key, KeyBudget
from gateway.limits.unbounded_targets import find_unbounded_targets
from tests.settings import world

NOW = 1_795_000_000.0
TEXT = world.BASE.replace(
    "large: {price: {input: 3, output: 4}}", "large: {context: 1000}"
).replace("smart: [{model: large}]", "smart: [{model: large}]\n    embeddings: [{model: vector}]")
"""`small` has a price and no bound, `large` a bound and no price, `vector` neither."""
NO_BOUND = "labs.acme.fast[0].model: small has neither `max_output` nor `context`"
NO_PRICE = "labs.acme.smart[0].model: large has no price"
NO_VECTORS = "labs.acme.embeddings[0].model: vector has no price"


def found(folder: Path, more: str, *keys: Key) -> list[str]:
    whole = world.whole(folder, TEXT + more)
    told = find_unbounded_targets(whole.source, whole.built_catalogue.catalogue, keys, NOW)
    assert {one.level for one in told} <= {"warning"}
    return [f"{one.path}: {one.message}" for one in told]


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        ("usd: 1, every: day", [NO_BOUND, NO_PRICE, NO_VECTORS]),
        ("usd: 1, every: day, tier: [fast]", [NO_BOUND]),
        ("usd: 1, every: day, reserve: expected", [NO_PRICE, NO_VECTORS]),
        ("usd: 1, every: day, hard: false", []),
        ("share: 0.5, every: day, tier: [reasoning]", []),
    ],
)
def test_what_a_hard_budget_of_the_configuration_passes_over(
    tmp_path: Path, budget: str, wanted: list[str]
) -> None:
    told = found(tmp_path, f"budgets: [{{name: b, {budget}}}]\n")
    assert [one.startswith(start) for one, start in zip(told, wanted, strict=True)] == [True] * len(
        wanted
    )


def test_a_hard_budget_of_a_key_counts_too(tmp_path: Path) -> None:
    own = KeyBudget(usd=Decimal(1), every="day", tier=("smart",))
    assert len(found(tmp_path, "", Key(name="k", budgets=(own,)))) == 1
    assert found(tmp_path, "", Key(name="k")) == []


def test_unknown_output_bounds_what_nothing_else_does(tmp_path: Path) -> None:
    budget = "budgets: [{name: b, usd: 1, every: day, tier: [fast]}]\nunknown_output: 100\n"
    assert found(tmp_path, budget) == []


def test_a_provider_that_is_off_is_left_out(tmp_path: Path) -> None:
    text = f"{TEXT}budgets: [{{name: b, usd: 1, every: day}}]\n"
    whole = world.whole(tmp_path, text, {})
    assert find_unbounded_targets(whole.source, whole.built_catalogue.catalogue, (), NOW) == []
