"""Scopes of a key by model and region: a target outside is skipped or refused, with a reason."""

import msgspec
import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.errors import ProblemError
from gateway.core.target import Catalogue, Target
from gateway.dialects import OPERATIONS
from gateway.dialects.embeddings import OPERATION
from gateway.routing import capabilities, visible_models
from gateway.routing.route_embeddings import decide as embed
from tests.routing import world

EU = msgspec.structs.replace(world.provider("eu-host"), region="eu")
LUNA_EU = world.target(EU, "maker/luna")
HYDROGEN_EU = world.target(EU, "hydrogen")
CATALOGUE = world.catalogue(
    (
        world.lab("google", [world.LITE], [HYDROGEN_EU, world.HYDROGEN], [world.ARGON]),
        world.lab("openai", [world.LUNA, LUNA_EU], [world.SOL], [world.ASTRA, world.SPARE]),
    ),
    plain="auto",
    sunny="sol",
    cheap="openai/fast",
    behind="gemini/argon",
)


def key(*models: str, **more: object) -> Key:
    return msgspec.convert({"name": "k", "models": models or None, **more}, Key)


RESTRICTIONS: list[tuple[Key, Target, str]] = [
    (key(), world.LUNA, ""),
    (key("luna"), world.LUNA, ""),
    (key("lun*"), world.LUNA, ""),
    (key("openai/*"), world.LUNA, ""),
    (key("maker/luna"), LUNA_EU, ""),
    (key("eu-host/*"), LUNA_EU, ""),
    (key("luna"), LUNA_EU, ""),  # a host's path prefix is not part of the model's name
    (key("sol", "l*a"), world.LUNA, ""),
    (key("Luna"), world.LUNA, "is not a model of this key"),
    (key("lun"), world.LUNA, "is not a model of this key"),
    (key("una*"), world.LUNA, "is not a model of this key"),
    (key("sol"), world.LUNA, "is not a model of this key"),
    (msgspec.structs.replace(key(), models=()), world.LUNA, "is not a model of this key"),
    (key(regions=["eu"]), LUNA_EU, ""),
    (key(regions=["us", "eu"]), LUNA_EU, ""),
    (key(regions=["us"]), LUNA_EU, "is outside the regions of this key"),
    (key(regions=["eu"]), world.LUNA, "is outside the regions of this key"),  # the configuration gives no region for it
    (key(regions=[]), LUNA_EU, "is outside the regions of this key"),
    (key("luna", regions=["us"]), LUNA_EU, "is outside the regions of this key"),
]  # fmt: skip


@pytest.mark.parametrize(("holder", "target", "why"), RESTRICTIONS)
def test_a_key_may_use_targets_by_model_and_region(holder: Key, target: Target, why: str) -> None:
    assert capabilities.find_key_restriction(holder, target) == why


def test_targets_outside_the_scope_of_a_key_are_skipped_with_the_reason() -> None:
    call = world.call("a", model="openai/fast", key=key(regions=["eu"]))
    decision, plan = world.decided(world.router(known=CATALOGUE), call)
    assert world.names(plan) == ["eu-host/maker/luna"]
    assert [(item.target, item.reason) for item in plan.skipped] == [
        ("openai/luna", "is outside the regions of this key")
    ]
    assert "plan: 1 of 2 targets (openai/luna is outside the regions of this key)" in world.lines(
        decision
    )


@pytest.mark.parametrize(
    ("holder", "model", "lab", "tier"),
    [
        (key("argon"), "auto", "google", "reasoning"),
        (key("lite", "astra"), "fast", "google", "fast"),
        (key("lite", "astra"), "reasoning", "openai", "reasoning"),
        (key("luna"), "auto", "openai", "fast"),
        (key(regions=["eu"]), "smart", "google", "smart"),
    ],
)
def test_a_call_that_names_no_lab_goes_to_one_that_its_key_may_use(
    holder: Key, model: str, lab: str, tier: str
) -> None:
    decision, _ = world.decided(
        world.router(known=CATALOGUE), world.call("a", model=model, key=holder)
    )
    assert (decision.lab, decision.tier) == (lab, tier)
    moved = "constraint: lab google (openai may not be used)" in world.lines(decision)
    assert moved == (lab == "google")


@pytest.mark.parametrize(
    ("holder", "model", "steer", "message"),
    [
        (
            key("sol"),
            "luna",
            RequestOptions(),
            "This key may not use the model 'luna' for this call: it is not a model of this key.",
        ),
        (
            key("sol"),
            "openai/fast",
            RequestOptions(),
            "any model of openai/fast for this call: each is not a model of this key.",
        ),
        (key("sol"), "auto", RequestOptions(lab="google"), "any model of lab google for this call"),
        (
            key("sol"),
            "auto",
            RequestOptions(lab="google", tier="fast"),
            "any model of google/fast for this call",
        ),
        (
            key(regions=["us"]),
            "openai/auto",
            RequestOptions(),
            "is outside the regions of this key",
        ),
        (key("none*"), "auto", RequestOptions(), "may not use any lab for this call"),
        (key("sol"), "fast", RequestOptions(), "may not use any lab for this call"),
    ],
)
def test_a_call_for_a_model_outside_the_scope_of_its_key_is_refused(
    holder: Key, model: str, steer: RequestOptions, message: str
) -> None:
    problem = world.refusal(
        world.router(known=CATALOGUE), world.call("a", model=model, key=holder, steer=steer)
    )
    assert (problem.kind, problem.http_status) == ("not_allowed", 403)
    assert message in problem.message


def test_the_error_does_not_blame_the_key_for_a_target_that_is_off() -> None:
    """If a target that the key may use is off, the error gives that as the reason."""
    call = world.call("a", model="openai/reasoning", key=key("luna"))
    problem = world.refusal(world.router(known=CATALOGUE), call)
    assert problem.kind == "no_target"
    assert problem.message.endswith("can serve this request: its providers are off.")
    assert problem.detail == "host/luna is off: set HOST_API_KEY"


def catalogue_with_embeddings() -> Catalogue:
    target = world.target(world.OPENAI, "embed-3")
    eu_target = msgspec.structs.replace(target, provider=EU)
    labs = dict(CATALOGUE.labs)
    labs["openai"] = msgspec.structs.replace(labs["openai"], embeddings=(target,))
    labs["google"] = msgspec.structs.replace(labs["google"], embeddings=(eu_target,))
    return msgspec.structs.replace(CATALOGUE, labs=labs)


def test_key_scopes_apply_to_embeddings_too() -> None:
    dialect = next(
        operation for operation in OPERATIONS.values() if operation.operation == OPERATION
    )

    def ask(holder: Key) -> tuple[str, list[str]]:
        call = world.call("a", model="embed-3", key=holder)
        decision, plan = embed(catalogue_with_embeddings(), world.rules(), call, dialect)
        return decision.lab, world.names(plan)

    assert ask(key()) == ("openai", ["openai/embed-3"])
    assert ask(key(regions=["eu"])) == ("google", ["eu-host/embed-3"])
    for holder in (key("luna"), key(regions=["us"])):
        with pytest.raises(ProblemError) as caught:
            ask(holder)
        assert caught.value.problem.kind == "not_allowed"
        assert "This key may not use the model 'embed-3'" in caught.value.problem.message


MODEL_LISTS: list[tuple[Key, list[str]]] = [
    (key(), [
        "auto", "fast", "smart", "reasoning", "claude-auto", "plain", "sunny", "cheap", "behind",
        "google/auto", "google/fast", "google/smart", "google/reasoning",
        "openai/auto", "openai/fast", "openai/smart", "openai/reasoning",
        "lite", "hydrogen", "argon", "luna", "maker/luna", "sol", "astra",
    ]),
    (key("sol"), ["auto", "smart", "claude-auto", "plain", "sunny", "openai/auto", "openai/smart", "sol"]),
    (key("argon"), ["auto", "reasoning", "claude-auto", "plain", "behind", "google/auto", "google/reasoning", "argon"]),
    (key(regions=["eu"]), [
        "auto", "fast", "smart", "claude-auto", "plain", "cheap", "google/auto", "google/smart",
        "openai/auto", "openai/fast", "hydrogen", "maker/luna",
    ]),
    (key(tiers=["fast"], labs=["google"]), [
        "auto", "fast", "claude-auto", "plain", "google/auto", "google/fast", "lite",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("holder", "names"), MODEL_LISTS)
def test_the_model_list_contains_what_a_key_may_request(holder: Key, names: list[str]) -> None:
    assert sorted(visible_models.list_names(CATALOGUE, holder)) == sorted(names)


@pytest.mark.parametrize(("holder", "names"), MODEL_LISTS[:4])
def test_every_listed_model_is_served(holder: Key, names: list[str]) -> None:
    router = world.router(known=CATALOGUE)
    for name in names:
        world.decided(router, world.call("a", model=name, key=holder))


def test_the_model_list_contains_the_embedding_models_of_a_key() -> None:
    assert visible_models.list_embedding_models(catalogue_with_embeddings(), key()) == {
        "embed-3": "google"
    }
    assert visible_models.list_embedding_models(catalogue_with_embeddings(), key("openai/*")) == {
        "embed-3": "openai"
    }
    assert visible_models.list_embedding_models(catalogue_with_embeddings(), key("luna")) == {}
