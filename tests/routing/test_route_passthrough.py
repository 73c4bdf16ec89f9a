"""The provider that serves a pass-through call, and who may have it."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import OPEN_KEY, Key, RequestOptions
from gateway.core.errors import Problem, ProblemError
from gateway.core.owned_object import ObjectPlace
from gateway.core.passthrough import (
    Billing,
    PassThroughEndpoint,
    PassThroughMatch,
    PassThroughTable,
    ProviderEndpoint,
)
from gateway.core.target import Provider, Target, Targets
from gateway.routing import route_passthrough
from gateway.routing.features import Features
from gateway.routing.route_passthrough import PassThroughChoice
from gateway.routing.rules.compile import RuleSet
from tests.routing import world
from tests.routing.test_hosted_models import ALL_ON, GROQ, OPENAI, QWEN, ROUTER

LONE = world.provider("lone")
"""A provider that no lab uses."""
LABS = {"openai": "openai", "qwen": "qwen", "groq": "llama", "openrouter": "openai", "lone": "lone"}


def match(*providers: Provider, billing: Billing = "usage") -> PassThroughMatch:
    endpoint = PassThroughEndpoint(
        name="images.generate", method="POST", path="/images", billing=billing, model="body"
    )
    table = PassThroughTable(name="t", prefix="/v1", dialect="openai-chat", endpoints=(endpoint,))
    return PassThroughMatch(
        tuple(
            ProviderEndpoint(
                endpoint=endpoint,
                table=table,
                provider=provider,
                lab=LABS[provider.name],
                base_url="https://x.test",
            )
            for provider in providers
        ),
        {},
    )


def call(model: str = "", key: Key = OPEN_KEY, **more: Any) -> Features:
    return world.call(model=model, key=key, **more)


def choose(features: Features, *providers: Provider, **more: Any) -> PassThroughChoice:
    return route_passthrough.choose(ALL_ON, match(*providers), features, **more)


def refuse(features: Features, *providers: Provider, **more: Any) -> Problem:
    with pytest.raises(ProblemError) as refusal:
        choose(features, *providers, **more)
    return refusal.value.problem


@pytest.mark.parametrize(
    ("model", "providers", "provider", "name"),
    [
        ("", (QWEN, OPENAI), "openai", ""),  # the default lab
        ("", (QWEN, GROQ), "qwen", ""),  # the first
        ("gpt-6", (QWEN, OPENAI), "openai", "gpt-6"),  # a lab lists it
        ("openai/gpt-6", (OPENAI,), "openai", "gpt-6"),
        ("gpt-4o", (QWEN, OPENAI, ROUTER), "openai", "gpt-4o"),  # its maker
        ("qwen3-vl", (QWEN, OPENAI), "qwen", "qwen3-vl"),
        ("groq/whatever", (QWEN, GROQ), "groq", "whatever"),
        ("lone/whatever", (QWEN, LONE), "lone", "whatever"),
        ("whatever", (LONE,), "lone", "whatever"),  # nobody else has the endpoint
    ],
)
def test_a_call_goes_to_the_provider_of_its_model(
    model: str, providers: tuple[Provider, ...], provider: str, name: str
) -> None:
    choice = choose(call(model), *providers)
    assert (choice.endpoint.provider.name, choice.model) == (provider, name)
    assert choice.reason


def test_the_caller_may_name_a_lab_or_a_provider() -> None:
    for lab in ("llama", "groq"):
        choice = choose(call(steer=RequestOptions(lab=lab)), OPENAI, GROQ)
        assert choice.endpoint.provider is GROQ
    choice = choose(call(key=Key(name="k", lab="llama")), OPENAI, GROQ)
    assert choice.endpoint.provider is GROQ
    problem = refuse(call(steer=RequestOptions(lab="qwen")), OPENAI, GROQ)
    assert "These do: openai, groq." in problem.message


def test_a_call_follows_the_objects_that_it_names() -> None:
    place = ObjectPlace("qwen", "second")
    choice = choose(call(), OPENAI, QWEN, place=place)
    assert (choice.endpoint.provider, choice.account) == (QWEN, "second")
    assert refuse(call(), OPENAI, place=place).kind == "not_found"


@pytest.mark.parametrize(
    ("model", "providers"),
    [
        ("openai/gpt-oss-120b", (GROQ, ROUTER)),  # two hosts
        ("unheard-of", (OPENAI, QWEN)),
    ],
)
def test_a_name_that_several_could_own_needs_its_provider(
    model: str, providers: tuple[Provider, ...]
) -> None:
    problem = refuse(call(model), *providers)
    assert problem.kind == "model_not_found"
    assert all(f"{provider.name}/{model}" in problem.message for provider in providers)


@pytest.mark.parametrize("model", ["auto", "fast", "openai/auto"])
def test_a_tier_is_no_model_of_such_an_endpoint(model: str) -> None:
    assert "needs the name of a model" in refuse(call(model), OPENAI).message


def test_a_name_that_is_no_name_is_refused() -> None:
    assert refuse(call("a b\n"), LONE).kind == "model_not_found"


@pytest.mark.parametrize("key", [Key(name="k", labs=("qwen",)), Key(name="k", regions=("eu",))])
def test_a_key_reaches_only_its_labs_and_regions(key: Key) -> None:
    assert refuse(call(key=key), OPENAI).kind == "not_allowed"


def decide(
    model: str,
    key: Key = OPEN_KEY,
    rules: RuleSet | None = None,
    billing: Billing = "usage",
) -> str:
    """Return the lab of a decided call, or the kind of its refusal."""
    features = call(model, key)
    choice = route_passthrough.choose(ALL_ON, match(OPENAI, billing=billing), features)
    target = choice.target or Target(provider=OPENAI, model=choice.model)
    try:
        decision = route_passthrough.decide(rules or world.rules(), features, choice, target)
    except ProblemError as error:
        return error.problem.kind
    assert decision.model == (choice.model or None)
    assert "images.generate at openai" in decision.trace[-1].effect
    return decision.lab


NAMED = Key(name="k", models=("gpt-4o",))
TIERED = Key(name="k", tiers=("fast",))


@pytest.mark.parametrize(
    ("model", "key", "billing", "outcome"),
    [
        ("gpt-4o", OPEN_KEY, "usage", "openai"),
        ("gpt-4o", NAMED, "usage", "openai"),
        ("gpt-4.1", NAMED, "usage", "not_allowed"),
        ("", NAMED, "usage", "not_allowed"),  # nothing says which model it is
        ("", NAMED, "free", "openai"),
        ("gpt-4o", TIERED, "usage", "not_allowed"),  # no tier has it
        ("gpt-4o", msgspec.structs.replace(TIERED, models=("gpt-4o",)), "usage", "openai"),
        ("gpt-6", TIERED, "usage", "openai"),  # the fast tier lists it
        ("gpt-6", Key(name="k", tiers=("smart",)), "usage", "not_allowed"),
        ("", TIERED, "free", "openai"),
        ("", TIERED, "usage", "not_allowed"),
    ],
)
def test_a_key_may_use_what_its_scope_names(
    model: str, key: Key, billing: Billing, outcome: str
) -> None:
    assert decide(model, key, billing=billing) == outcome


@pytest.mark.parametrize(
    ("model", "guard", "outcome"),
    [
        ("gpt-4o", {"max_tier": "smart"}, "not_allowed"),
        ("gpt-6", {"max_tier": "smart"}, "openai"),
        ("gpt-6", {"min_tier": "smart"}, "not_allowed"),
        ("gpt-4o", {"deny": ["openai"]}, "not_allowed"),
        ("gpt-4o", {"refuse": "Not today."}, "not_allowed"),
        ("gpt-4o", {"tag": ["seen"]}, "openai"),
    ],
)
def test_guards_bound_such_calls_too(model: str, guard: dict[str, Any], outcome: str) -> None:
    assert decide(model, rules=world.rules(guards=[{"when": {}, **guard}])) == outcome


def test_a_batch_is_decided_without_a_model_where_its_file_names_them() -> None:
    features = call(key=NAMED)
    choice = route_passthrough.choose(ALL_ON, match(OPENAI, billing="job"), features)
    target = Target(provider=OPENAI, model="")
    decision = route_passthrough.decide(world.rules(), features, choice, target, checks_model=False)
    assert decision.lab == "openai"


@pytest.mark.parametrize(
    ("model", "labs", "outcome"),
    [
        ("openrouter/maker/unheard-of", ("openai",), "not_allowed"),  # it may be of any lab
        ("openrouter/maker/unheard-of", ("openai", "qwen", "llama"), "openai"),
        ("openrouter/qwen/qwen4-vl", ("qwen",), "qwen"),  # a host's first lab is another one
        ("openrouter/qwen/qwen4-vl", ("openai",), "not_allowed"),
        ("unheard-of", ("openai",), "not_allowed"),
    ],
)
def test_a_host_serves_a_key_only_models_of_its_labs(
    model: str, labs: tuple[str, ...], outcome: str
) -> None:
    features = call(model, Key(name="k", labs=labs))
    choice = route_passthrough.choose(ALL_ON, match(ROUTER), features)
    target = Target(provider=ROUTER, model=choice.model)
    try:
        result = route_passthrough.decide(world.rules(), features, choice, target).lab
    except ProblemError as error:
        result = error.problem.kind
    assert result == outcome


def test_limits_on_tiers_do_not_bind_a_model_that_the_operator_chose() -> None:
    """All else binds it: the labs, models and regions of the key, and guards on labs."""

    def decide_judge(key: Key, rules: RuleSet | None = None) -> str:
        features = call("decide-1", key)
        choice = route_passthrough.choose(ALL_ON, match(OPENAI), features)
        target = Target(provider=OPENAI, model=choice.model)
        try:
            return route_passthrough.decide(
                rules or world.rules(), features, choice, target, checks_tier=False
            ).lab
        except ProblemError as error:
            return error.problem.kind

    assert decide("decide-1", TIERED) == "not_allowed"
    assert decide_judge(TIERED) == "openai"
    assert decide_judge(OPEN_KEY, world.rules([{"max_tier": "fast"}])) == "openai"
    assert decide_judge(OPEN_KEY, world.rules([{"deny": ["openai"]}])) == "not_allowed"
    for key in (Key(name="k", labs=("qwen",)), Key(name="k", models=("gpt-*",))):
        assert decide_judge(key) == "not_allowed"


@pytest.mark.parametrize("model", ["lone/decide-1", "decide-1"])
def test_a_model_of_a_provider_in_no_lab_has_the_facts_of_the_configuration(model: str) -> None:
    targets = Targets(lambda name: Target(provider=LONE, model=name))
    (candidate,) = match(LONE).candidates
    candidates = (msgspec.structs.replace(candidate, targets=targets),)
    choice = route_passthrough.choose(ALL_ON, PassThroughMatch(candidates, {}), call(model))
    assert (choice.model, choice.targets, choice.labs) == ("decide-1", targets, ("lone",))
