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


def lending(*names: str) -> Catalogue:
    """Return a catalogue in which the lab openai falls back to these labs."""
    lent = msgspec.structs.replace(OPENAI, fallback=names)
    return msgspec.structs.replace(world.CATALOGUE, labs={**world.CATALOGUE.labs, "openai": lent})


def planned(known: Catalogue, *, model: str = "auto", guards: Any = (), **more: Any) -> Plan:
    _, plan = world.decided(world.router(guards, known=known), world.call("x", model=model, **more))
    return plan


def names(plan: Plan) -> list[str]:
    return [target.name for target in plan.targets]


def test_the_targets_of_the_same_tier_stand_behind() -> None:
    known = lending("google")
    decision, plan = world.decided(world.router(known=known), world.call("x", model="smart"))
    assert names(plan) == ["openai/sol", "openai/terra", "gemini/hydrogen"]
    assert plan.labs == explain.list_labs(decision, plan) == ("openai", "openai", "google")
    assert len(plan.dialects) == 3
    assert decision.lab == "openai"
    assert (decision.trace[-1].step, decision.trace[-1].effect) == ("plan", "lab google")


def test_it_takes_over_what_no_target_of_the_lab_can_serve() -> None:
    """If no target can serve, or the call names the lab, the error gives the lab's own reasons."""
    tiers = dict.fromkeys(TIERS, (world.TERRA,))
    lab = msgspec.structs.replace(OPENAI, tiers=tiers, fallback=("google",))
    known = msgspec.structs.replace(world.CATALOGUE, labs={**world.CATALOGUE.labs, "openai": lab})
    decision, plan = world.decided(world.router(known=known), world.call("x", images=1))
    assert (decision.lab, names(plan), plan.labs) == ("google", ["gemini/hydrogen"], ())
    assert any("no target of openai" in step.reason for step in decision.trace)
    for guards, model in (([{"deny": "google"}], "auto"), ([], "openai/smart")):
        seen = world.call("x", model=model, images=1)
        assert world.refused(world.router(guards, known=known), seen).kind == "no_target"


def test_it_is_the_first_to_take_over_from_a_lab_that_may_not_be_used() -> None:
    lent = msgspec.structs.replace(OPENAI, fallback=("zulu",))
    zulu = msgspec.structs.replace(GOOGLE, name="zulu")
    known = msgspec.structs.replace(
        world.CATALOGUE, labs={**world.CATALOGUE.labs, "openai": lent, "zulu": zulu}
    )
    denied = world.router([{"deny": "openai"}], known=known)
    assert world.decided(denied, world.call("x"))[0].lab == "zulu"


@pytest.mark.parametrize("model", ["openai/smart", "sol"])
def test_a_call_that_names_its_lab_or_model_is_not_lent(model: str) -> None:
    plan = planned(lending("google"), model=model)
    assert all(name.startswith("openai/") for name in names(plan))
    assert plan.labs == ()


def test_nobody_is_asked_whom_the_key_or_a_guard_forbids() -> None:
    known = lending("google")
    held = planned(known, model="smart", key=Key(name="k", labs=("openai",)))
    bound = planned(known, model="smart", guards=[{"deny": "google"}])
    assert names(held) == names(bound) == ["openai/sol", "openai/terra"]
    key = Key(name="k", models=("sol", "gemini/*"))
    assert names(planned(known, model="smart", key=key)) == ["openai/sol", "gemini/hydrogen"]


def test_a_lab_that_is_off_lends_nothing() -> None:
    assert planned(lending("anthropic"), model="reasoning").labs == ()


def test_a_lab_without_a_target_that_fits_lends_nothing() -> None:
    """The trace still says that the gateway considered the lab."""
    bare = msgspec.structs.replace(GOOGLE, tiers={**GOOGLE.tiers, "smart": (world.SOL,)})
    known = lending("google")
    known = msgspec.structs.replace(known, labs={**known.labs, "google": bare})
    decision, plan = world.decided(world.router(known=known), world.call("x", model="smart"))
    assert (plan.labs, len(plan.targets)) == ((), 2)
    assert (decision.trace[-1].effect, decision.trace[-1].matched) == ("lab google", False)


def test_a_target_that_both_have_is_asked_once() -> None:
    known = lending("google")
    both = msgspec.structs.replace(GOOGLE, tiers={**GOOGLE.tiers, "smart": (world.SOL, world.LITE)})
    known = msgspec.structs.replace(known, labs={**known.labs, "google": both})
    assert names(planned(known, model="smart")) == ["openai/sol", "openai/terra", "gemini/lite"]
