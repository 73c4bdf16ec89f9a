"""The cost of a moved call: its answer is as long as the answers of its new tier."""

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.core.ledger_rows import ReplayRow
from gateway.core.target import Tier
from gateway.evaluation.replay.output_tokens import TierOutputTokens
from gateway.routing.quality_dial import MIN_OWN_CALLS, OwnTraffic, expect_tokens
from tests.evaluation.replay.test_replay import OFF, replay_rows, row
from tests.evaluation.replay.traffic import router

_MODELS: dict[Tier, tuple[str, Decimal]] = {
    "smart": ("able-1", Decimal(4)),
    "reasoning": ("deep-1", Decimal(20)),
}
EVERYTHING = {"name": "all", "tier": "reasoning"}
_MEAN_TOKENS: dict[Tier, float] = {"smart": 300, "reasoning": 2_500}


def answered(number: int, tier: str | None, output: int | None, **more: Any) -> ReplayRow:
    return row(number, tier=tier, output=output, **more)


def test_with_too_few_answers_the_usual_lengths_count() -> None:
    tokens = TierOutputTokens(OwnTraffic())
    assert tokens.compute_ratio("acme", "smart", "reasoning") == pytest.approx(2_000 / 600)
    for number in range(MIN_OWN_CALLS - 1):
        tokens.add(answered(number, "smart", 100))
        tokens.add(answered(number, "reasoning", 100, reasoning=900))
    assert tokens.compute_ratio("acme", "smart", "reasoning") == pytest.approx(2_000 / 600)
    tokens.add(answered(1_000, "smart", 100))
    tokens.add(answered(1_001, "reasoning", 100, reasoning=900))
    assert tokens.compute_ratio("acme", "smart", "reasoning") == 10.0
    assert tokens.compute_ratio("acme", "reasoning", "smart") == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("before", "after"), [("smart", "smart"), (None, "smart"), ("smart", None), ("other", "smart")]
)
def test_a_call_that_keeps_its_tier_keeps_its_length(
    before: str | None, after: Tier | None
) -> None:
    assert TierOutputTokens(OwnTraffic()).compute_ratio("acme", before, after) == 1.0


@pytest.mark.parametrize(("tier", "output"), [(None, 5), ("smart", None), ("smart", 0)])
def test_answers_of_unknown_length_or_tier_are_not_counted(
    tier: str | None, output: int | None
) -> None:
    tokens = TierOutputTokens(OwnTraffic())
    tokens.add(answered(1, tier, output))
    assert tokens.compute_ratio("acme", "smart", "reasoning") == pytest.approx(2_000 / 600)


def test_lengths_of_own_calls_count_until_the_log_has_enough_answers() -> None:
    own = {
        "acme": expect_tokens({"smart": 100, "reasoning": 900}),
        "half": expect_tokens({"smart": 300}),
    }
    tokens = TierOutputTokens(OwnTraffic(own))
    assert tokens.compute_ratio("acme", "smart", "reasoning") == 9.0
    assert tokens.compute_ratio("half", "smart", "reasoning") == pytest.approx(2_000 / 600)


def script_load(seed: int) -> tuple[list[ReplayRow], float]:
    """Return 2,000 calls, half of them on reasoning, and the cost of all of them there."""
    dice = random.Random(seed)
    rows: list[ReplayRow] = []
    truth = Decimal(0)
    for number in range(2_000):
        length = dice.lognormvariate(0, 0.6) / 1.2
        tier: Tier = dice.choice(("smart", "reasoning"))
        model, rate = _MODELS[tier]
        output = round(_MEAN_TOKENS[tier] * length)
        rows.append(
            row(
                number, talk=f"talk {number}", tier=tier, model=model, input=100, cache_read=0,
                output=output, cost=(100 + output * rate) / 1_000_000,
                basis={"target": f"acme/{model}"},
            )
        )  # fmt: skip
        truth += (Decimal(500) + round(_MEAN_TOKENS["reasoning"] * length) * 20) / 1_000_000
    return rows, float(truth)


def test_the_cost_of_a_scripted_load_is_predicted_within_a_tenth(tmp_path: Path) -> None:
    """Half of 2,000 calls were on reasoning, and the true cost of all of them there is known."""
    rows, truth = script_load(7)
    walk = replay_rows(router(tmp_path, choices=[EVERYTHING], **OFF), *rows)
    assert walk.totals.total.changed == sum(item.tier == "smart" for item in rows)
    assert float(walk.totals.total.usd_after) == pytest.approx(truth, rel=0.1)
    assert walk.totals.sample.count_usual_lengths() == 0


@pytest.mark.parametrize("seed", [1, 2, 3, 7])
def test_the_interval_of_a_scripted_load_covers_the_truth(tmp_path: Path, seed: int) -> None:
    """The ledger has already shown how long answers are, as it has for `tiergate replay`."""
    rows, truth = script_load(seed)
    everywhere = router(tmp_path, choices=[EVERYTHING], **OFF)
    everywhere.own_traffic.tokens = {"acme": expect_tokens(_MEAN_TOKENS)}
    figure = replay_rows(everywhere, *rows).totals.sample.compute_figures()["usd after"]
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < truth < figure.high
    assert figure.high - figure.low < 0.12 * figure.value
