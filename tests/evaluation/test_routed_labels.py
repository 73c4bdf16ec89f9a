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
    found = routed_labels.route_label(samples.made(), Label(prompt=prompt, tier="fast"))
    fast = float(prompt[:3])
    assert (found.tier, found.source) == (tier, "classifier")
    assert found.score == Score(fast=fast, smart=fast + 0.5 if fast < 0.5 else 1.0)


def test_costs_are_the_price_of_each_tiers_target_for_expected_tokens() -> None:
    """12 characters are 3 tokens.

    Small costs 1 and 2 USD a million, large 3 and 4, huge 5 and 6.
    """
    known = msgspec.structs.replace(
        samples.made(), output_tokens={"fast": 100, "smart": 10, "reasoning": 1000}
    )
    found = routed_labels.route_label(known, Label(prompt="0.9 of a pie", scores={"fast": 1.0}))
    assert found.costs == {
        "fast": Decimal("0.000203"), "smart": Decimal("0.000049"), "reasoning": Decimal("0.006015"),
    }  # fmt: skip
    assert found.target_names == {
        "fast": "openai/small", "smart": "openai/large", "reasoning": "openai/huge",
    }  # fmt: skip


def test_a_label_may_know_its_costs() -> None:
    own = Label(prompt="0.9", scores={"fast": 1.0}, costs={"fast": Decimal("0.5")})
    found = routed_labels.route_label(samples.made(), own)
    assert found.costs["fast"] == Decimal("0.5")
    assert found.target_names.keys() == {"smart", "reasoning"}


def test_a_tier_without_a_price_has_no_cost() -> None:
    found = routed_labels.route_label(samples.made(priced=False), Label(prompt="0.9", tier="fast"))
    assert found.costs.keys() == {"fast", "smart"}


def test_a_lab_without_a_tier_has_no_cost_there() -> None:
    lab = world.lab("openai", [samples.target("small")])
    known = samples.made()
    router = msgspec.structs.replace(known.router, catalogue=world.catalogue([lab]))
    found = routed_labels.route_label(
        msgspec.structs.replace(known, router=router), Label(prompt="0.9", tier="fast")
    )
    assert found.costs.keys() == {"fast"}


def test_where_all_of_a_tier_is_off_its_first_target_has_the_price() -> None:
    lab = world.lab(
        "openai", [samples.target("small")], [world.SPARE], [world.SPARE, samples.target("huge")]
    )
    known = samples.made()
    router = msgspec.structs.replace(known.router, catalogue=world.catalogue([lab]))
    known = msgspec.structs.replace(known, router=router)
    assert [one and one.name for one in (routed_labels.find_tier_target(known, "openai", tier) for tier in ("smart", "reasoning"))] == [
        "host/luna", "openai/huge",
    ]  # fmt: skip


def test_keys_and_tags_count_as_those_of_calls() -> None:
    """A label may name a key; an unknown key has nothing but its name."""
    known = msgspec.structs.replace(
        samples.made(), keys={"ann": Key(name="ann", tiers=("smart", "reasoning"))}
    )
    label = Label(prompt="0.9", tier="fast", tags=("x",))
    for key, tier in ((None, "fast"), ("ann", "smart"), ("bob", "fast")):
        assert (
            routed_labels.route_label(known, msgspec.structs.replace(label, key=key)).tier == tier
        )


def test_what_is_refused_has_no_tier_and_says_why() -> None:
    found = routed_labels.route_label(
        samples.made(), Label(prompt="0.9", tier="fast", model="none/fast")
    )
    assert (found.tier, found.source, found.costs) == (None, "refused", {})
    assert "does not serve" in found.reason


def test_without_a_classifier_there_is_no_score() -> None:
    found = routed_labels.route_label(
        samples.made(classifier=False), Label(prompt="0.9", tier="fast")
    )
    assert (found.tier, found.source, found.score) == ("smart", "default", None)
