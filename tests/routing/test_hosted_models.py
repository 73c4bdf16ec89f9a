"""Names that a host serves, and names that several providers could serve."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import OPEN_KEY, Key, RequestOptions
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, NameOwner, Provider, Target, Targets
from gateway.dialects.openai_chat import EMBEDDINGS
from gateway.routing import unlisted_models, visible_models
from gateway.routing.router import decide
from tests.routing import world
from tests.routing.world import lab, target

OPENAI, OPENAI_OFF = world.provider("openai"), world.provider("openai", why="set OPENAI_API_KEY")
QWEN, QWEN_OFF = world.provider("qwen"), world.provider("qwen", why="set QWEN_KEY")
GROQ, ROUTER = world.provider("groq"), world.provider("openrouter")


def owner(provider: Provider, labs: tuple[str, ...], **patterns: Any) -> NameOwner:
    targets = Targets(lambda name: Target(provider=provider, model=name, is_listed=False))
    embeddings = None if provider is ROUTER else targets
    return NameOwner(
        provider=provider, labs=labs, targets=targets, embeddings=embeddings, **patterns
    )


def catalogue(openai: Provider = OPENAI, qwen: Provider = QWEN, *more: NameOwner) -> Catalogue:
    """Return a catalogue of two makers and two hosts; the lab llama has no maker."""
    labs = (
        lab("openai", [target(openai, "gpt-6"), target(ROUTER, "openai/gpt-6")]),
        lab("qwen", [target(qwen, "qwen4"), target(ROUTER, "qwen/qwen4")]),
        lab("llama", [target(GROQ, "llama-5"), target(ROUTER, "meta-llama/llama-5")]),
    )
    owners = (
        owner(openai, ("openai",), names=("gpt-*", "!gpt-oss*")),
        owner(qwen, ("qwen",), names=("qwen[0-9]*",)),
        owner(GROQ, ("llama",), hosted_names=("llama-*", "openai/gpt-oss-*", "groq/compound*")),
        owner(ROUTER, ("openai", "qwen", "llama"), hosted_names=("*/*", "!bad/*")),
        *more,
    )
    return msgspec.structs.replace(world.catalogue(labs), name_owners=owners)


ALL_ON = catalogue()
MAKERS_OFF = catalogue(OPENAI_OFF, QWEN_OFF)
HOSTS_OFF = msgspec.structs.replace(ALL_ON, name_owners=ALL_ON.name_owners[:2])


def route(
    model: str, known: Catalogue = ALL_ON, key: Key = OPEN_KEY, **more: Any
) -> tuple[str, str]:
    """Return the lab and the target's name of a call."""
    router = world.router(known=known)
    decision, plan = world.decided(router, world.call(model=model, key=key, **more))
    return decision.lab, plan.targets[0].name


def refusal(model: str, known: Catalogue = ALL_ON, key: Key = OPEN_KEY, **more: Any) -> Problem:
    return world.refusal(world.router(known=known), world.call(model=model, key=key, **more))


ROUTES = [
    # a provider before the name: it gets the rest, whatever that is
    (ALL_ON, "groq/any-model", "llama", "groq/any-model"),
    (ALL_ON, "groq/maker/any-model", "llama", "groq/maker/any-model"),
    (ALL_ON, "openai/any-model", "openai", "openai/any-model"),
    (ALL_ON, "groq/qwen3-32b", "qwen", "groq/qwen3-32b"),
    (ALL_ON, "openrouter/openai/gpt-4o", "openai", "openrouter/openai/gpt-4o"),
    # a host's own names begin with its name
    (ALL_ON, "groq/compound-mini", "llama", "groq/groq/compound-mini"),
    (ALL_ON, "openrouter/auto", "openai", "openrouter/openrouter/auto"),
    # the maker wins over its hosts
    (ALL_ON, "gpt-4o", "openai", "openai/gpt-4o"),
    (ALL_ON, "openai/gpt-4o", "openai", "openai/gpt-4o"),
    (ALL_ON, "qwen/qwen3-32b", "qwen", "qwen/qwen3-32b"),
    # the only host wins where the maker is off, or does not have the name
    (MAKERS_OFF, "openai/gpt-4o", "openai", "openrouter/openai/gpt-4o"),
    (MAKERS_OFF, "qwen/qwen3-32b", "qwen", "openrouter/qwen/qwen3-32b"),
    (ALL_ON, "llama-3.3-70b-versatile", "llama", "groq/llama-3.3-70b-versatile"),
    (ALL_ON, "maker/x", "openai", "openrouter/maker/x"),
    # an excluded name reaches its provider only if nobody else may have it
    (ALL_ON, "openai/gpt-oss", "openai", "openrouter/openai/gpt-oss"),
    (HOSTS_OFF, "openai/gpt-oss", "openai", "openai/gpt-oss"),
    (ALL_ON, "openrouter/bad/x", "openai", "openrouter/bad/x"),
]


@pytest.mark.parametrize(("known", "model", "lab_name", "name"), ROUTES)
def test_a_name_goes_to_its_provider_else_its_maker_else_its_only_host(
    known: Catalogue, model: str, lab_name: str, name: str
) -> None:
    assert route(model, known) == (lab_name, name)


def test_a_name_of_several_hosts_needs_a_provider() -> None:
    problem = refusal("openai/gpt-oss-20b")
    assert (problem.kind, problem.param) == ("model_not_found", "model")
    assert problem.message == (
        "Several providers may serve the model 'openai/gpt-oss-20b'. Ask for "
        "'groq/openai/gpt-oss-20b' or 'openrouter/openai/gpt-oss-20b'."
    )
    call = world.call(model="openai/gpt-oss-20b")
    assert unlisted_models.make_target_factory(call, "generate", ALL_ON) is None
    assert visible_models.find_owner(ALL_ON, OPEN_KEY, "openai/gpt-oss-20b") == ""


def test_a_name_of_several_makers_needs_a_provider_or_a_lab() -> None:
    twin = owner(world.provider("twin"), ("llama",), names=("gpt-*",))
    known = catalogue(OPENAI, QWEN, twin)
    assert "'openai/gpt-4o' or 'twin/gpt-4o'" in refusal("gpt-4o", known).message
    assert route("twin/gpt-4o", known)[1] == "twin/gpt-4o"
    assert route("gpt-4o", known, steer=RequestOptions(lab="llama")) == ("llama", "twin/gpt-4o")
    assert route("gpt-4o", known, key=Key(name="k", labs=("openai",)))[1] == "openai/gpt-4o"
    assert refusal("gpt-4o", known, key=Key(name="k", labs=("qwen",))).kind == "not_allowed"


def test_the_scope_of_a_key_names_the_one_host_that_it_may_use() -> None:
    key = Key(name="k", models=("groq/*",))
    assert route("openai/gpt-oss-20b", key=key)[1] == "groq/openai/gpt-oss-20b"
    assert visible_models.find_owner(ALL_ON, key, "openai/gpt-oss-20b") == "llama"
    assert visible_models.find_owner(ALL_ON, key, "openrouter/openai/gpt-oss-20b") == ""


@pytest.mark.parametrize(
    ("models", "model", "may"),
    [
        (("gpt-6",), "openrouter/openai/gpt-6", True),  # a lab lists it
        (("gpt-6",), "openrouter/anybody/gpt-6", False),
        (("gpt-6",), "groq/anybody/at/gpt-6", False),
        (("anybody/gpt-6",), "openrouter/anybody/gpt-6", True),
        (("*/gpt-6",), "openrouter/anybody/gpt-6", True),
    ],
)
def test_a_path_that_a_client_makes_up_is_part_of_the_name(
    models: tuple[str, ...], model: str, may: bool
) -> None:
    """On some hosts anybody can publish a model under a path and a name of their choice."""
    key = Key(name="k", models=models)
    if may:
        assert route(model, key=key)[1] == model
    else:
        assert refusal(model, key=key).kind == "not_allowed"


@pytest.mark.parametrize(
    ("labs", "model", "may"),
    [
        (("llama",), "groq/any-model", True),
        (("openai",), "groq/any-model", False),
        (("qwen",), "groq/qwen3-32b", True),
        (("llama",), "groq/qwen3-32b", False),
        # nobody knows the maker: the key must have all labs of the host
        (("openai",), "openrouter/maker/x", False),
        (("openai", "qwen", "llama"), "openrouter/maker/x", True),
        (("openai",), "openrouter/openai/gpt-4o", True),
    ],
)
def test_the_labs_of_a_key_and_of_guards_bound_what_hosts_serve(
    labs: tuple[str, ...], model: str, may: bool
) -> None:
    call = world.call(model=model, key=Key(name="k", labs=labs))
    guarded = world.router(guards=[{"allow": list(labs)}], known=ALL_ON)
    if may:
        assert world.decided(world.router(known=ALL_ON), call)
        assert world.decided(guarded, world.call(model=model))
    else:
        assert refusal(model, key=Key(name="k", labs=labs)).kind == "not_allowed"
        assert world.refusal(guarded, world.call(model=model)).kind == "not_allowed"


def test_a_name_of_disabled_providers_says_what_turns_them_on() -> None:
    known = catalogue(OPENAI_OFF)
    problem = refusal("gpt-4o", known)
    assert (problem.kind, problem.detail) == ("model_not_found", "set OPENAI_API_KEY")


def test_an_alias_of_a_name_with_several_hosts_is_listed_if_one_is_open() -> None:
    known = msgspec.structs.replace(ALL_ON, aliases={"mine": "openai/gpt-oss-20b"})
    assert "mine" in visible_models.list_names(known, OPEN_KEY)
    assert "mine" not in visible_models.list_names(known, Key(name="k", models=("gpt-6",)))


def test_embeddings_look_only_at_providers_that_make_them() -> None:
    """The router has no embeddings here, so groq alone may serve the name."""
    call = world.call("text", model="openai/gpt-oss-vec")
    _, plan = decide(world.router(known=ALL_ON), call, EMBEDDINGS)
    assert world.names(plan) == ["groq/openai/gpt-oss-vec"]
    with pytest.raises(ProblemError, match="does not serve"):
        decide(world.router(known=ALL_ON), world.call("text", model="maker/x"), EMBEDDINGS)


def test_the_nearest_known_name_is_one_that_the_key_may_ask_for() -> None:
    known_names = ("gpt-4o", "gpt-4o-mini", "gpt-4.1")
    maker = msgspec.structs.replace(ALL_ON.name_owners[0], list_known_names=lambda: known_names)
    host = msgspec.structs.replace(ALL_ON.name_owners[2], list_known_names=lambda: ("llama-3",))
    owners = (maker, ALL_ON.name_owners[1], host, ALL_ON.name_owners[3])
    known = msgspec.structs.replace(ALL_ON, name_owners=owners)
    suggest = visible_models.suggest_name
    assert suggest("openai/gpt-4o-mini-typo", known, OPEN_KEY) == "gpt-4o-mini"
    assert suggest("openai/gpt-4o", known, OPEN_KEY) != "gpt-4o", "it was just refused"
    assert suggest("groq/llama-33", known, OPEN_KEY) == "groq/llama-3"
    key = Key(name="k", models=("gpt-4.1",))
    assert suggest("openai/gpt-4.1-x", known, key) == "gpt-4.1"
    assert suggest("openai/gpt-4o-mini-x", known, key) != "gpt-4o-mini"
    assert suggest("zzz", known, OPEN_KEY) == ""


def test_a_listed_target_of_a_provider_stays_in_its_lab() -> None:
    """The provider has the name of a lab, and another lab lists the model."""
    labs = (lab("openai", [target(OPENAI, "gpt-6")]), lab("llama", [target(OPENAI, "own")]))
    known = msgspec.structs.replace(
        world.catalogue(labs), name_owners=(owner(OPENAI, ("openai", "llama")),)
    )
    assert route("openai/own", known) == ("llama", "openai/own")
