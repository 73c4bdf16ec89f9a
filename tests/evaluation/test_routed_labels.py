"""Labels are decided as calls are, and priced by the catalogue unless they have costs."""

from decimal import Decimal

import msgspec
import pytest

from gateway.core.call import Key
from gateway.core.decision_context import Score
from gateway.evaluation import routed_labels
from gateway.evaluation.labels import Label
from tests.evaluation import samples
from tests.routing import world


@pytest.mark.parametrize(
    ("prompt", "tier"), [("0.9 x", "fast"), ("0.4 x", "smart"), ("0.1 x", "reasoning")]
)
def test_a_label_gets_the_tier_of_the_call(prompt: str, tier: str) -> None:
    routed = routed_labels.route_label(
        samples.make_label_router(), Label(prompt=prompt, tier="fast")
    )
    fast = float(prompt[:3])
    assert (routed.tier, routed.source) == (tier, "classifier")
    assert routed.score == Score(fast=fast, smart=fast + 0.5 if fast < 0.5 else 1.0)


def test_costs_are_the_price_of_each_tiers_target_for_expected_tokens() -> None:
    """12 characters are 3 tokens.

    Small costs 1 and 2 USD a million, large 3 and 4, huge 5 and 6.
    """
    label_router = msgspec.structs.replace(
        samples.make_label_router(), output_tokens={"fast": 100, "smart": 10, "reasoning": 1000}
    )
    routed = routed_labels.route_label(
        label_router, Label(prompt="0.9 of a pie", scores={"fast": 1.0})
    )
    assert routed.costs == {
        "fast": Decimal("0.000203"), "smart": Decimal("0.000049"), "reasoning": Decimal("0.006015"),
    }  # fmt: skip
    assert routed.target_names == {
        "fast": "openai/small", "smart": "openai/large", "reasoning": "openai/huge",
    }  # fmt: skip


def test_the_costs_of_a_label_come_before_the_catalogue() -> None:
    own = Label(prompt="0.9", scores={"fast": 1.0}, costs={"fast": Decimal("0.5")})
    routed = routed_labels.route_label(samples.make_label_router(), own)
    assert routed.costs["fast"] == Decimal("0.5")
    assert routed.target_names.keys() == {"smart", "reasoning"}


def test_a_tier_without_a_price_has_no_cost() -> None:
    routed = routed_labels.route_label(
        samples.make_label_router(priced=False), Label(prompt="0.9", tier="fast")
    )
    assert routed.costs.keys() == {"fast", "smart"}


def test_a_lab_without_a_tier_has_no_cost_there() -> None:
    lab = world.lab("openai", [samples.target("small")])
    label_router = samples.make_label_router()
    router = msgspec.structs.replace(label_router.router, catalogue=world.catalogue([lab]))
    routed = routed_labels.route_label(
        msgspec.structs.replace(label_router, router=router), Label(prompt="0.9", tier="fast")
    )
    assert routed.costs.keys() == {"fast"}


def test_a_tier_whose_targets_are_all_off_has_the_price_of_the_first() -> None:
    lab = world.lab(
        "openai", [samples.target("small")], [world.SPARE], [world.SPARE, samples.target("huge")]
    )
    label_router = samples.make_label_router()
    router = msgspec.structs.replace(label_router.router, catalogue=world.catalogue([lab]))
    label_router = msgspec.structs.replace(label_router, router=router)
    assert [target and target.name for target in (routed_labels.find_tier_target(label_router, "openai", tier) for tier in ("smart", "reasoning"))] == [
        "host/luna", "openai/huge",
    ]  # fmt: skip


def test_the_key_and_tags_of_a_label_count_as_those_of_a_call() -> None:
    """A label may name a key; an unknown key has nothing but its name."""
    label_router = msgspec.structs.replace(
        samples.make_label_router(), keys={"ann": Key(name="ann", tiers=("smart", "reasoning"))}
    )
    label = Label(prompt="0.9", tier="fast", tags=("x",))
    for key, tier in ((None, "fast"), ("ann", "smart"), ("bob", "fast")):
        assert (
            routed_labels.route_label(label_router, msgspec.structs.replace(label, key=key)).tier
            == tier
        )


def test_a_refused_label_has_no_tier_and_a_reason() -> None:
    routed = routed_labels.route_label(
        samples.make_label_router(), Label(prompt="0.9", tier="fast", model="none/fast")
    )
    assert (routed.tier, routed.source, routed.costs) == (None, "refused", {})
    assert "does not serve" in routed.reason


def test_without_a_classifier_there_is_no_score() -> None:
    routed = routed_labels.route_label(
        samples.make_label_router(classifier=False), Label(prompt="0.9", tier="fast")
    )
    assert (routed.tier, routed.source, routed.score) == ("smart", "default", None)
