"""Targets of another lab stand behind a lab's own, only if the configuration names that lab."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import Key
from gateway.core.decision import Plan
from gateway.core.target import TIERS, Catalogue
from gateway.routing import explain
from tests.routing import world

OPENAI, GOOGLE = world.CATALOGUE.labs["openai"], world.CATALOGUE.labs["google"]


def catalogue_with_fallback(*names: str) -> Catalogue:
    """Return a catalogue in which the lab openai falls back to these labs."""
    lab = msgspec.structs.replace(OPENAI, fallback=names)
    return msgspec.structs.replace(world.CATALOGUE, labs={**world.CATALOGUE.labs, "openai": lab})


def plan_call(catalogue: Catalogue, *, model: str = "auto", guards: Any = (), **more: Any) -> Plan:
    _, plan = world.decided(
        world.router(guards, known=catalogue), world.call("x", model=model, **more)
    )
    return plan


def names(plan: Plan) -> list[str]:
    return [target.name for target in plan.targets]


def test_the_targets_of_the_fallback_lab_in_the_same_tier_come_last() -> None:
    catalogue = catalogue_with_fallback("google")
    decision, plan = world.decided(world.router(known=catalogue), world.call("x", model="smart"))
    assert names(plan) == ["openai/sol", "openai/terra", "gemini/hydrogen"]
    assert plan.labs == explain.list_labs(decision, plan) == ("openai", "openai", "google")
    assert len(plan.dialects) == 3
    assert decision.lab == "openai"
    assert (decision.trace[-1].step, decision.trace[-1].effect) == ("plan", "lab google")


def test_the_fallback_lab_takes_over_a_call_that_the_lab_cannot_serve() -> None:
    """If no target can serve, or the call names the lab, the error gives the lab's own reasons."""
    tiers = dict.fromkeys(TIERS, (world.TERRA,))
    lab = msgspec.structs.replace(OPENAI, tiers=tiers, fallback=("google",))
    catalogue = msgspec.structs.replace(
        world.CATALOGUE, labs={**world.CATALOGUE.labs, "openai": lab}
    )
    decision, plan = world.decided(world.router(known=catalogue), world.call("x", images=1))
    assert (decision.lab, names(plan), plan.labs) == ("google", ["gemini/hydrogen"], ())
    assert any("no target of openai" in step.reason for step in decision.trace)
    for guards, model in (([{"deny": "google"}], "auto"), ([], "openai/smart")):
        call = world.call("x", model=model, images=1)
        assert world.refusal(world.router(guards, known=catalogue), call).kind == "no_target"


def test_the_fallback_lab_takes_over_first_from_a_lab_that_a_guard_denies() -> None:
    lab = msgspec.structs.replace(OPENAI, fallback=("zulu",))
    zulu = msgspec.structs.replace(GOOGLE, name="zulu")
    catalogue = msgspec.structs.replace(
        world.CATALOGUE, labs={**world.CATALOGUE.labs, "openai": lab, "zulu": zulu}
    )
    denied = world.router([{"deny": "openai"}], known=catalogue)
    assert world.decided(denied, world.call("x"))[0].lab == "zulu"


@pytest.mark.parametrize("model", ["openai/smart", "sol"])
def test_a_call_that_names_its_lab_or_model_gets_no_fallback_targets(model: str) -> None:
    plan = plan_call(catalogue_with_fallback("google"), model=model)
    assert all(name.startswith("openai/") for name in names(plan))
    assert plan.labs == ()


def test_fallback_targets_that_the_key_or_a_guard_forbids_are_left_out() -> None:
    catalogue = catalogue_with_fallback("google")
    keyed = plan_call(catalogue, model="smart", key=Key(name="k", labs=("openai",)))
    guarded = plan_call(catalogue, model="smart", guards=[{"deny": "google"}])
    assert names(keyed) == names(guarded) == ["openai/sol", "openai/terra"]
    key = Key(name="k", models=("sol", "gemini/*"))
    assert names(plan_call(catalogue, model="smart", key=key)) == ["openai/sol", "gemini/hydrogen"]


def test_a_fallback_lab_that_is_off_adds_no_targets() -> None:
    assert plan_call(catalogue_with_fallback("anthropic"), model="reasoning").labs == ()


def test_a_fallback_lab_without_a_fitting_target_adds_none() -> None:
    """The trace still says that the gateway considered the lab."""
    bare = msgspec.structs.replace(GOOGLE, tiers={**GOOGLE.tiers, "smart": (world.SOL,)})
    catalogue = catalogue_with_fallback("google")
    catalogue = msgspec.structs.replace(catalogue, labs={**catalogue.labs, "google": bare})
    decision, plan = world.decided(world.router(known=catalogue), world.call("x", model="smart"))
    assert (plan.labs, len(plan.targets)) == ((), 2)
    assert (decision.trace[-1].effect, decision.trace[-1].matched) == ("lab google", False)


def test_a_target_of_both_labs_is_planned_once() -> None:
    catalogue = catalogue_with_fallback("google")
    google = msgspec.structs.replace(
        GOOGLE, tiers={**GOOGLE.tiers, "smart": (world.SOL, world.LITE)}
    )
    catalogue = msgspec.structs.replace(catalogue, labs={**catalogue.labs, "google": google})
    assert names(plan_call(catalogue, model="smart")) == [
        "openai/sol",
        "openai/terra",
        "gemini/lite",
    ]
