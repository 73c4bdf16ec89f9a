"""Names that no lab lists: who owns them, who may use them, and what a family may choose."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue, NameOwner, Provider, Target, Targets, Tier
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.openai_chat import EMBEDDINGS
from gateway.routing import model_name as pins
from gateway.routing import unlisted_models, visible_models
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.features import Features
from gateway.routing.router import decide
from tests.routing import world
from tests.routing.world import lab, target

FAMILIES: dict[str, Tier] = {"claude-haiku": "fast", "claude-opus": "reasoning"}
OPENAI = world.provider("openai")
CLAUDE = world.provider("anthropic")
CLAUDE_OFF = world.provider("anthropic", why="set ANTHROPIC_API_KEY")
HOST = world.provider("bedrock")
HAIKU = target(CLAUDE, "claude-haiku-5", "none")
OPUS = target(CLAUDE, "claude-opus-5", "high")
ON_HOST = target(HOST, "anthropic.claude-opus-5", "high")
LUNA, SOL = target(OPENAI, "gpt-6-luna", "none"), target(OPENAI, "sol")
OSS = target(OPENAI, "gpt-oss-1")
VECTOR = target(OPENAI, "text-embedding-3")


def maker(provider: Provider, lab_name: str, *names: str, embeds: bool = False) -> NameOwner:
    targets = Targets(lambda name: Target(provider=provider, model=name))
    return NameOwner(
        provider=provider,
        labs=(lab_name,),
        names=names,
        targets=targets,
        embeddings=targets if embeds else None,
    )


def make_catalogue(*claude: Target, provider: Provider = CLAUDE) -> Catalogue:
    """Return labs openai and anthropic; the targets are anthropic's, the first one fast."""
    openai = lab("openai", [LUNA], [SOL], [OSS])
    catalogue = world.catalogue(
        (
            msgspec.structs.replace(openai, embeddings=(VECTOR,)),
            lab("anthropic", claude[:1], (), claude[1:] or [target(provider, "claude-opus-5")]),
        ),
        mine="gpt-4o",
    )
    return msgspec.structs.replace(
        catalogue,
        families=FAMILIES,
        name_owners=(
            maker(OPENAI, "openai", "gpt-[0-9]*", "o[0-9]*", "text-embedding-*", embeds=True),
            maker(provider, "anthropic", "claude-*"),
        ),
    )


MAKERS_ON = make_catalogue(HAIKU, OPUS)
CLAUDE_IS_OFF = make_catalogue(provider=CLAUDE_OFF)
"""No provider of Claude is on."""
HOSTED = make_catalogue(ON_HOST, ON_HOST, provider=CLAUDE_OFF)
"""A host serves Claude; its maker is off."""


WITHOUT_OWNERS = msgspec.structs.replace(MAKERS_ON, name_owners=())
"""Both are on; the configuration is older than the setting of name owners."""
ROUTED = world.catalogue(
    [
        lab("openai", [LUNA], [SOL], [OSS]),
        lab("router", [target(HOST, "anthropic/claude-haiku-5")]),
    ]
)
ROUTED = msgspec.structs.replace(ROUTED, families=FAMILIES)
"""A host of many makers serves Claude under the host's own name."""


def make_router(catalogue: Catalogue = MAKERS_ON, guards: Sequence[Mapping[str, Any]] = ()) -> Any:
    return world.router(guards=guards, known=catalogue)


def refusal(
    model: str,
    catalogue: Catalogue = MAKERS_ON,
    guards: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> Problem:
    return world.refusal(make_router(catalogue, guards), world.call(model=model, **more))


UNLISTED_NAMES: list[tuple[str, str, Tier | None, str]] = [
    # requested model -> lab, tier, the target's name
    ("claude-opus-4-8", "anthropic", None, "anthropic/claude-opus-4-8"),
    ("claude-fable-9", "anthropic", None, "anthropic/claude-fable-9"),
    ("anthropic/claude-opus-4-8", "anthropic", None, "anthropic/claude-opus-4-8"),
    ("gpt-4o", "openai", None, "openai/gpt-4o"),
    ("openai/gpt-4o", "openai", None, "openai/gpt-4o"),
    ("o3", "openai", None, "openai/o3"),
    ("mine", "openai", None, "openai/gpt-4o"),
    # a snapshot of a listed model has that model's tier
    ("claude-haiku-5-20260901", "anthropic", "fast", "anthropic/claude-haiku-5-20260901"),
    ("claude-opus-5-2026-09-01", "anthropic", "reasoning", "anthropic/claude-opus-5-2026-09-01"),
    ("gpt-6-luna-latest", "openai", "fast", "openai/gpt-6-luna-latest"),
]


@pytest.mark.parametrize(("model", "lab_name", "tier", "name"), UNLISTED_NAMES)
@pytest.mark.parametrize(
    "key", [OPEN_KEY, Key(name="k", lab="openai"), Key(name="k", lab="anthropic")]
)
def test_an_unlisted_model_name_goes_to_its_owner_unchanged(
    model: str, lab_name: str, tier: Tier | None, name: str, key: Key
) -> None:
    """The key's lab does not matter, and the gateway adds nothing of a tier."""
    decision, plan = world.decided(make_router(), world.call(model=model, key=key))
    assert (decision.lab, decision.tier, decision.source) == (lab_name, tier, "pin")
    assert world.names(plan) == [name]
    assert decision.model == plan.targets[0].model
    assert (plan.targets[0].effort, decision.family) == (None, None)
    assert plan.dialects == ("openai-chat",)


def test_the_trace_names_the_owner_of_an_unlisted_model() -> None:
    decision, _ = world.decided(make_router(), world.call(model="gpt-4o"))
    assert world.lines(decision) == [
        "pin: openai, model gpt-4o (no lab lists it; it is a model of openai)"
    ]
    decision, _ = world.decided(make_router(), world.call(model="claude-haiku-5-20260901"))
    assert world.lines(decision)[0].startswith("pin: anthropic/fast, model claude-haiku-5-2026")


def test_a_model_that_a_lab_lists_is_routed_as_listed() -> None:
    """A listed model has a tier and further targets; an embedding model has its endpoint."""
    decision, plan = world.decided(make_router(), world.call(model="gpt-oss-1"))
    assert (decision.tier, world.names(plan)) == ("reasoning", ["openai/gpt-oss-1"])
    assert "POST /v1/embeddings" in refusal("text-embedding-3").message
    assert (
        unlisted_models.make_target_factory(world.call(model="gpt-6-luna"), "generate", MAKERS_ON)
        is None
    )


UNKNOWN_NAMES = [
    "gpt-", "gpt-oss-2", "claude", "llama-9", "google/gpt-4o", "gpt-4o\n",
    "gpt-4/../x", "gpt-4/./x", "gpt-4//x", "gpt-4?x=1", "gpt-4%2e", "gpt-4 o", "gpt-4é",
    "gpt-4" + "x" * 200,
]  # fmt: skip


@pytest.mark.parametrize("model", UNKNOWN_NAMES)
def test_a_name_without_an_owner_or_with_url_characters_is_not_found(model: str) -> None:
    assert unlisted_models.find_all(model, MAKERS_ON) == []
    assert refusal(model).kind == "model_not_found"


def test_a_lab_that_the_client_names_is_not_replaced() -> None:
    problem = refusal("claude-opus-4-8", steer=RequestOptions(lab="openai"))
    assert problem.kind == "model_not_found"
    assert "'openai' does not serve the model 'claude-opus-4-8'" in problem.message
    decision, _ = world.decided(
        make_router(), world.call(model="claude-opus-4-8", steer=RequestOptions(lab="anthropic"))
    )
    assert decision.lab == "anthropic"


def test_a_tier_that_the_client_names_is_that_of_the_lab_of_the_owner() -> None:
    call = world.call(model="claude-opus-4-8", steer=RequestOptions(tier="fast"))
    decision, plan = world.decided(make_router(), call)
    assert (decision.lab, decision.tier, decision.model) == ("anthropic", "fast", None)
    assert world.names(plan) == ["anthropic/claude-haiku-5"]


ALLOWED: list[tuple[Key, str, bool]] = [
    (Key(name="k", labs=("openai",)), "claude-opus-4-8", False),
    (Key(name="k", labs=("openai",)), "gpt-4o", True),
    (Key(name="k", models=("gpt-6-*",)), "gpt-4o", False),
    (Key(name="k", models=("gpt-4*",)), "gpt-4o", True),
    (Key(name="k", models=("openai/*",)), "gpt-4o", True),
    (Key(name="k", tiers=("fast",)), "gpt-4o", False),
    (Key(name="k", tiers=("fast", "smart", "reasoning")), "gpt-4o", False),
    (Key(name="k", tiers=("fast",), models=("gpt-4o",)), "gpt-4o", True),
    (Key(name="k", tiers=("fast",)), "claude-haiku-5-20260901", True),
    (Key(name="k", tiers=("fast",)), "claude-opus-5-20260901", False),
    (Key(name="k", regions=("eu",)), "gpt-4o", False),
]


@pytest.mark.parametrize(("key", "model", "may"), ALLOWED)
def test_a_key_reaches_an_unlisted_model_only_within_its_scope(
    key: Key, model: str, may: bool
) -> None:
    """The cost of a model without a tier is unknown, so a key limited to tiers must name it."""
    if may:
        assert world.decided(make_router(), world.call(model=model, key=key))
        return
    problem = refusal(model, key=key)
    assert (problem.kind, problem.param) == ("not_allowed", "model")
    assert problem.message == f"This key may not use the model {model!r} for this call."


GUARDED: list[tuple[Mapping[str, Any], str, bool]] = [
    ({"deny": ["openai"]}, "gpt-4o", False),
    ({"allow": ["anthropic"]}, "gpt-4o", False),
    ({"allow": ["anthropic"]}, "claude-opus-4-8", True),
    ({"max_tier": "smart"}, "gpt-4o", False),
    ({"min_tier": "smart"}, "gpt-4o", False),
    ({"max_tier": "reasoning"}, "gpt-4o", True),
    ({"max_tier": "smart"}, "claude-haiku-5-20260901", True),
    ({"max_tier": "smart"}, "claude-opus-5-20260901", False),
]


@pytest.mark.parametrize(("guard", "model", "may"), GUARDED)
def test_guards_may_refuse_an_unlisted_model_but_never_replace_it(
    guard: Mapping[str, Any], model: str, may: bool
) -> None:
    if may:
        _, plan = world.decided(make_router(guards=[guard]), world.call(model=model))
        assert [planned.model for planned in plan.targets] == [model]
    else:
        assert refusal(model, guards=[guard]).kind == "not_allowed"


def test_a_budget_that_allows_one_tier_refuses_a_model_without_a_tier() -> None:
    with pytest.raises(ProblemError, match="may not use"):
        decide(
            make_router(), world.call(model="gpt-4o"), OPENAI_CHAT, DecisionContext(ceiling="fast")
        )


def test_a_call_that_the_provider_of_the_owner_cannot_serve_is_refused() -> None:
    silent = msgspec.structs.replace(CLAUDE, urls={"gemini": "https://x.example"})
    problem = refusal("claude-opus-4-8", make_catalogue(HAIKU, OPUS, provider=silent))
    assert problem.kind == "no_target"
    assert "needs gemini" in problem.message


def test_an_earlier_answer_that_the_provider_does_not_keep_is_not_found() -> None:
    call = world.call(model="gpt-4o", continuation_member="previous_response_id")
    problem = world.refusal(make_router(), call)
    assert (problem.kind, problem.param) == ("not_found", "previous_response_id")


def test_guards_and_complete_apply_to_an_unlisted_model() -> None:
    guard = {"no_cache": True, "tag": "t", "complete": "hold"}
    decision, _ = world.decided(make_router(guards=[guard]), world.call(model="gpt-4o"))
    assert (decision.no_cache, decision.tags, decision.complete) == (True, ("t",), "hold")
    assert [step.step for step in decision.trace] == ["pin", "guard", "complete"]
    decision, _ = world.decided(make_router(guards=[{"cache": "on"}]), world.call(model="gpt-4o"))
    assert decision.cache


FAMILY: list[tuple[Catalogue, str, Key, str, Tier]] = [
    # none of its providers is on: the family chooses a tier of the key's lab or the default lab
    (CLAUDE_IS_OFF, "claude-opus-4-8", OPEN_KEY, "openai", "reasoning"),
    (CLAUDE_IS_OFF, "claude-haiku-4-5-20251001", OPEN_KEY, "openai", "fast"),
    (CLAUDE_IS_OFF, "claude-haiku-5", Key(name="k", lab="openai"), "openai", "fast"),
    # a host of Claude is on: the call stays in its lab
    (HOSTED, "claude-opus-4-8", OPEN_KEY, "anthropic", "reasoning"),
    (HOSTED, "claude-haiku-4-5", OPEN_KEY, "anthropic", "fast"),
    # no name owners are set, but a lab lists a model of that family
    (WITHOUT_OWNERS, "claude-opus-4-8", OPEN_KEY, "anthropic", "reasoning"),
    (WITHOUT_OWNERS, "claude-haiku-4-5", Key(name="k", lab="openai"), "anthropic", "fast"),
    # a name behind a host's path shows no maker
    (ROUTED, "claude-opus-4-8", OPEN_KEY, "openai", "reasoning"),
]


@pytest.mark.parametrize(("catalogue", "model", "key", "lab_name", "tier"), FAMILY)
def test_a_model_family_chooses_the_tier_if_its_provider_is_off(
    catalogue: Catalogue, model: str, key: Key, lab_name: str, tier: Tier
) -> None:
    decision, _ = world.decided(make_router(catalogue), world.call(model=model, key=key))
    assert (decision.lab, decision.tier, decision.source) == (lab_name, tier, "pin")
    assert (decision.model, decision.family) == (None, "-".join(model.split("-")[:2]))
    assert world.lines(decision)[0] == (
        f"pin: {lab_name}/{tier} ({model!r}: none of its providers is on, so its family "
        f"{decision.family} chooses the tier)"
    )


def test_a_model_family_never_leaves_the_lab_of_a_host_that_serves_it() -> None:
    key = Key(name="k", labs=("openai",))
    assert refusal("claude-opus-4-8", HOSTED, key=key).kind == "not_allowed"
    problem = refusal("claude-opus-4-8", HOSTED, steer=RequestOptions(lab="openai"))
    assert "'openai' does not serve the model" in problem.message


def test_without_families_a_name_that_no_provider_serves_is_refused() -> None:
    bare = msgspec.structs.replace(CLAUDE_IS_OFF, families={})
    assert refusal("claude-opus-4-8", bare).kind == "model_not_found"
    assert refusal("claude-sonnet-9", CLAUDE_IS_OFF).kind == "model_not_found"


@pytest.mark.parametrize(
    ("key", "name", "owner"),
    [
        (OPEN_KEY, "gpt-4o", "openai"),
        (OPEN_KEY, "gpt-6-luna", "openai"),
        (OPEN_KEY, "smart", "tiergate"),
        (OPEN_KEY, "llama-9", ""),
        (Key(name="k", labs=("anthropic",)), "gpt-4o", ""),
        (Key(name="k", labs=("anthropic",)), "gpt-6-luna", ""),
        (Key(name="k", labs=("anthropic",)), "claude-opus-4-8", "anthropic"),
        (Key(name="k", tiers=("fast",)), "gpt-4o", ""),
    ],
)
def test_a_key_sees_the_owner_of_a_name_that_it_may_use(key: Key, name: str, owner: str) -> None:
    assert visible_models.find_owner(MAKERS_ON, key, name) == owner


def test_an_alias_of_an_unlisted_model_is_listed_for_keys_that_may_use_it() -> None:
    assert "mine" in visible_models.list_names(MAKERS_ON, OPEN_KEY)
    assert "mine" not in visible_models.list_names(MAKERS_ON, Key(name="k", labs=("anthropic",)))


def test_repeated_calls_for_an_unlisted_model_are_decided_the_same() -> None:
    cache = DecisionCache(make_router())
    for model in ("gpt-4o", "claude-haiku-5-20260901", "gpt-4o", "claude-haiku-5-20260901"):
        call = world.call(model=model)
        cached = cache.decide(call, OPENAI_CHAT, DecisionContext())
        fresh = world.decided(make_router(), call)
        assert world.timeless(cached[0]) == world.timeless(fresh[0])
        assert cached[1] == fresh[1]


def test_an_unlisted_model_leaves_no_tier_open() -> None:
    assert not pins.leaves_tier_open(world.call(model="gpt-4o"), MAKERS_ON)
    assert not pins.read(world.call(model="gpt-4o"), MAKERS_ON).is_tier_open


def test_the_target_of_an_unlisted_model_is_built_once_and_bounded_in_number() -> None:
    built: list[str] = []

    def make(name: str) -> Target:
        built.append(name)
        return Target(provider=OPENAI, model=name)

    owner = msgspec.structs.replace(MAKERS_ON.name_owners[0], targets=Targets(make, max_entries=2))
    catalogue = msgspec.structs.replace(MAKERS_ON, name_owners=(owner,))
    call = world.call(model="mine")
    first = unlisted_models.make_target_factory(call, "generate", catalogue)
    assert first is not None
    assert built == []
    first()
    assert unlisted_models.make_target_factory(call, "generate", catalogue) is None
    for name in ("gpt-4o", "gpt-4o", "gpt-4", "gpt-4"):
        world.decided(make_router(catalogue), world.call(model=name))
    assert built == ["gpt-4o", "gpt-4"]
    world.decided(make_router(catalogue), world.call(model="gpt-5"))
    assert "gpt-4o" not in owner.targets, "what clients name is kept in bounded memory"
    for name in ("auto", "smart", "openai/fast", "claude-auto", "llama-9"):
        assert (
            unlisted_models.make_target_factory(world.call(model=name), "generate", catalogue)
            is None
        )


def embed(
    model: str, key: Key = OPEN_KEY, steer: RequestOptions = NO_OPTIONS
) -> tuple[str, list[str], list[str]]:
    decision, plan = decide(make_router(), _vectors(model, key, steer), EMBEDDINGS)
    assert decision.tier is None
    return decision.lab, world.names(plan), [step.effect for step in decision.trace]


def _vectors(model: str, key: Key = OPEN_KEY, steer: RequestOptions = NO_OPTIONS) -> Features:
    return world.call("text", model=model, key=key, steer=steer)


def test_unlisted_embedding_models_go_to_their_owner_too() -> None:
    targets = ["openai/text-embedding-ada-002"]
    assert embed("text-embedding-ada-002") == ("openai", targets, ["openai, model text-embedding-ada-002"])  # fmt: skip
    assert embed("openai/text-embedding-ada-002")[:2] == ("openai", targets)
    assert embed("text-embedding-ada-002", steer=RequestOptions(lab="anthropic"))[2][0] == "ignored"
    call = _vectors("text-embedding-ada-003")
    assert unlisted_models.make_target_factory(call, "embeddings", MAKERS_ON) is not None
    assert (
        unlisted_models.make_target_factory(_vectors("claude-vec"), "embeddings", MAKERS_ON) is None
    )


@pytest.mark.parametrize(
    ("model", "key", "kind"),
    [
        ("claude-vec", OPEN_KEY, "model_not_found"),
        ("sol", OPEN_KEY, "model_not_found"),
        ("text-embedding-ada-002", Key(name="k", labs=("anthropic",)), "not_allowed"),
        ("text-embedding-ada-002", Key(name="k", tiers=("fast",)), "not_allowed"),
        ("text-embedding-ada-002", Key(name="k", models=("gpt-*",)), "not_allowed"),
    ],
)
def test_a_name_that_makes_no_embeddings_or_is_out_of_scope_is_refused(
    model: str, key: Key, kind: str
) -> None:
    with pytest.raises(ProblemError) as error:
        embed(model, key)
    assert error.value.problem.kind == kind
