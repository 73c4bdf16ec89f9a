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


def warnings(folder: Path, more: str, *keys: Key) -> list[str]:
    whole = world.whole(folder, TEXT + more)
    mistakes = find_unbounded_targets(whole.source, whole.built_catalogue.catalogue, keys, NOW)
    assert {mistake.level for mistake in mistakes} <= {"warning"}
    return [f"{mistake.path}: {mistake.message}" for mistake in mistakes]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("usd: 1, every: day", [NO_BOUND, NO_PRICE, NO_VECTORS]),
        ("usd: 1, every: day, tier: [fast]", [NO_BOUND]),
        ("usd: 1, every: day, reserve: expected", [NO_PRICE, NO_VECTORS]),
        ("usd: 1, every: day, reserve: fit", [NO_BOUND, NO_PRICE, NO_VECTORS]),
        ("usd: 1, every: day, hard: false", []),
        ("share: 0.5, every: day, tier: [reasoning]", []),
    ],
)
def test_check_names_the_targets_that_a_hard_budget_skips(
    tmp_path: Path, budget: str, expected: list[str]
) -> None:
    messages = warnings(tmp_path, f"budgets: [{{name: b, {budget}}}]\n")
    assert [
        message.startswith(start) for message, start in zip(messages, expected, strict=True)
    ] == [True] * len(expected)


def test_check_also_names_targets_that_a_keys_hard_budget_skips(tmp_path: Path) -> None:
    own = KeyBudget(usd=Decimal(1), every="day", tier=("smart",))
    assert len(warnings(tmp_path, "", Key(name="k", budgets=(own,)))) == 1
    assert warnings(tmp_path, "", Key(name="k")) == []


def test_unknown_output_bounds_targets_without_another_bound(tmp_path: Path) -> None:
    budget = "budgets: [{name: b, usd: 1, every: day, tier: [fast]}]\nunknown_output: 100\n"
    assert warnings(tmp_path, budget) == []


def test_check_ignores_a_provider_that_is_off(tmp_path: Path) -> None:
    text = f"{TEXT}budgets: [{{name: b, usd: 1, every: day}}]\n"
    whole = world.whole(tmp_path, text, {})
    assert find_unbounded_targets(whole.source, whole.built_catalogue.catalogue, (), NOW) == []


def test_a_price_to_reserve_bounds_targets_without_a_price(tmp_path: Path) -> None:
    more = "budgets: [{name: a, usd: 1, every: day}]\nunknown_price: {input: 3, output: 9}\n"
    assert warnings(tmp_path, more) == [f"{NO_BOUND}: calls under a hard budget skip it if their client sets no max_tokens."]  # fmt: skip
