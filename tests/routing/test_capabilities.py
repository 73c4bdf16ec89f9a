"""Capabilities: a target that cannot do what a call needs is removed, with a reason.

An unknown capability removes no target.
"""

from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision import SkippedTarget
from gateway.core.errors import ProblemError
from gateway.core.prompt import Prompt
from gateway.core.target import ModelFacts, Provider, Target
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPERATIONS,
    TranslatableRequest,
)
from gateway.routing import capabilities, features, refusals
from gateway.routing.capabilities import (
    can_reach_provider,
    choose_dialect,
    explain_unreachable,
)
from gateway.routing.router import Router, decide
from tests.config import shipped
from tests.routing import world
from tests.routing.world import Json

TOOLS: Json = {"tools": ("f",), "members": frozenset({"tools"})}

CASES: list[tuple[Json, Json, str]] = [
    # facts of the target, the call, the reason
    ({}, {}, ""),
    ({}, {**TOOLS, "images": 1, "files": 1, "audio": 1, "json_schema": True, "logprobs": True}, ""),
    ({"tools": False}, TOOLS, "does not accept tools"),
    ({"tools": False}, {}, ""),
    ({"tools": True}, TOOLS, ""),
    ({"forced_tools": False}, {**TOOLS, "forced_tool": True}, "cannot be forced to use a tool"),
    ({"forced_tools": False}, TOOLS, ""),
    ({"chat_tool_efforts": ()}, TOOLS, "needs openai-responses"),
    ({"chat_tool_efforts": ()}, {}, ""),
    ({"chat_tool_efforts": ("none",)}, {**TOOLS, "effort": "none"}, ""),
    ({"chat_tool_efforts": ("none",)}, {**TOOLS, "effort": "low"}, "needs openai-responses"),
    ({"chat_tool_efforts": ("none",), "default_effort": "none"}, TOOLS, ""),
    ({"chat_tool_efforts": ("none",), "default_effort": "low"}, TOOLS, "needs openai-responses"),
    (
        {"chat_tool_efforts": ("low",), "efforts": ("low", "high")},
        {**TOOLS, "effort": "minimal"},
        "",
    ),
    ({"vision": False}, {"images": 1}, "does not accept images"),
    ({"vision": False}, {}, ""),
    ({"vision": True}, {"images": 1}, ""),
    ({"files": False}, {"files": 1}, "does not accept files"),
    ({"audio": False}, {"audio": 1}, "does not accept audio"),
    ({"json_schema": False}, {"json_schema": True}, "has no structured output"),
    ({"json_schema": False}, {}, ""),
    ({"refused_members": frozenset({"n"})}, {"members": frozenset({"n"})}, "refuses n"),
    (
        {"refused_members": frozenset({"n", "stop", "logit_bias"})},
        {"members": frozenset({"stop", "n", "model"})},
        "refuses n, stop",
    ),
    # a parameter that may be dropped removes no target
    ({"refused_members": frozenset({"temperature"})}, {"members": frozenset({"temperature"})}, ""),
    ({"sampling": "never"}, {"logprobs": True}, "sends no logprobs while it reasons"),
    ({"sampling": "effort-none"}, {"logprobs": True}, "sends no logprobs while it reasons"),
    ({"sampling": "effort-none"}, {"logprobs": True, "effort": "none"}, ""),
    ({"sampling": "effort-none", "default_effort": "none"}, {"logprobs": True}, ""),
    ({"sampling": "always"}, {"logprobs": True, "effort": "high"}, ""),
    ({"context": 100}, {"chars": 400}, ""),
    ({"context": 100}, {"chars": 401}, "about 101 tokens do not fit its window of 100"),
    (
        {"context": 2_000_000, "max_input": 1_000_000},
        {"chars": 4_000_004},
        "about 1,000,001 tokens do not fit its window of 1,000,000",
    ),
]


def reason(target: Target, **call: Any) -> str:
    return choose_dialect(target, world.call(**call), OPENAI_CHAT)[1]


@pytest.mark.parametrize(("facts", "call", "expected"), CASES)
def test_a_target_that_lacks_a_capability_is_removed_with_a_reason(
    facts: Json, call: Json, expected: str
) -> None:
    assert reason(world.target(world.OPENAI, "m", **facts), **call) == expected


def test_the_effort_of_the_tier_applies_if_the_client_sets_none() -> None:
    facts: Json = {"chat_tool_efforts": ("none",), "default_effort": "high"}
    assert reason(world.target(world.OPENAI, "m", "none", **facts), **TOOLS) == ""
    assert reason(world.target(world.OPENAI, "m", "low", **facts), **TOOLS) != ""
    assert reason(world.target(world.OPENAI, "m", "none", **facts), **TOOLS, effort="low") != ""


def test_the_limits_of_a_provider_remove_its_targets_too() -> None:
    host = msgspec.structs.replace(world.OPENAI, refused_members=frozenset({"n"}))
    assert reason(world.target(host, "m"), members=frozenset({"n"})) == "refuses n"
    other_host = msgspec.structs.replace(
        world.OPENAI, urls={"gemini": "https://x", "other": "https://y"}
    )
    assert reason(world.target(other_host, "m")) == "needs gemini or other"
    assert reason(world.OPUS) == capabilities.OFF_REASON
    assert (
        capabilities.make_skipped_target(world.OPUS, "fast", capabilities.OFF_REASON).detail
        == "set ANTHROPIC_API_KEY"
    )


def test_an_unpinned_call_moves_to_the_nearest_tier_that_can_serve_it() -> None:
    decision, plan = world.decided(
        world.router(choices=[{"tier": "reasoning"}]), world.call(**TOOLS)
    )
    assert (decision.tier, world.names(plan)) == ("smart", ["openai/terra"])
    assert world.lines(decision)[-2:] == [
        "constraint: smart (no target of reasoning can serve this call)",
        (
            "plan: 1 of 4 targets (openai/astra needs openai-responses; openai/sol needs "
            "openai-responses; openai/sol needs openai-responses)"
        ),
    ]
    assert [(item.target, item.tier) for item in plan.skipped] == [
        ("openai/astra", "reasoning"),
        ("openai/sol", "reasoning"),
        ("openai/sol", "smart"),
    ]


@pytest.mark.parametrize(
    ("tier", "call", "moved", "model"),
    [
        ("fast", {}, "fast", "openai/luna"),
        ("fast", {"chars": 4_004}, "smart", "openai/sol"),
        ("smart", {"images": 1}, "smart", "openai/sol"),
        ("smart", TOOLS, "smart", "openai/terra"),
        ("smart", {**TOOLS, "images": 1}, "fast", "openai/luna"),
        ("reasoning", {**TOOLS, "images": 1}, "fast", "openai/luna"),
    ],
)
def test_the_gateway_looks_for_the_nearest_tier_upwards_first(
    tier: str, call: Json, moved: str, model: str
) -> None:
    decision, plan = world.decided(world.router(choices=[{"tier": tier}]), world.call(**call))
    assert (decision.tier, world.names(plan)[0]) == (moved, model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "reasoning",
            (
                "No target of openai/reasoning can serve this request: needs openai-responses "
                "(openai/astra, openai/sol)."
            ),
        ),
        (
            "sol",
            "No target of openai/smart can serve this request: needs openai-responses (openai/sol).",
        ),
        (
            "fast",
            (
                "No target of openai/fast can serve this request: about 1,001 tokens do not fit its "
                "window of 1,000 (openai/luna)."
            ),
        ),
    ],
)
def test_a_pinned_call_is_refused_with_every_reason(model: str, message: str) -> None:
    problem = world.refusal(world.router(), world.call(model=model, chars=4_004, **TOOLS))
    assert (problem.kind, problem.http_status, problem.message) == ("no_target", 400, message)


def test_an_unpinned_call_that_nothing_can_serve_is_refused_with_every_reason() -> None:
    call = world.call(model="openai/auto", images=1, chars=4_004, **TOOLS)
    problem = world.refusal(world.router(), call)
    assert problem.message == (
        "No target of lab openai can serve this request: needs openai-responses (openai/sol, "
        "openai/astra); does not accept images (openai/terra); about 1,001 tokens do not fit its window of "
        "1,000 (openai/luna)."
    )
    assert problem.detail == "host/luna is off: set HOST_API_KEY"


def test_an_error_gives_the_first_three_reasons_and_counts_the_rest() -> None:
    skipped = [SkippedTarget(f"host/{at}", "fast", f"reason {at}") for at in range(5)]
    message = refusals.no_target("lab openai", skipped).problem.message
    assert message == (
        "No target of lab openai can serve this request: reason 0 (host/0); reason 1 (host/1); "
        "reason 2 (host/2); and 2 more reasons."
    )


def test_the_error_for_an_empty_tier_says_that_it_has_no_target() -> None:
    router = world.router(known=world.catalogue([world.lab("openai", fast=[world.LUNA])]))
    problem = world.refusal(router, world.call(model="reasoning"))
    assert problem.message == "No target of openai/reasoning can serve this request: it has none."
    decision, _ = world.decided(router, world.call())
    assert decision.tier == "fast"


# The shipped configuration with OpenAI's key alone.


@pytest.fixture(scope="module")
def openai() -> Router:
    return shipped.router({"OPENAI_API_KEY": "sk-test"}, None)


def read_call(**members: Any) -> features.Features:
    body: Json = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **members}
    prompt: Prompt = OPENAI_CHAT.read(msgspec.json.encode(body)).prompt
    return features.read(prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS)


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("model", ["reasoning", "gpt-6.2-astra", "gpt-6.2-sol", "gpt-6.1-sol"])
def test_a_chat_call_with_tools_is_refused_for_openai_models_that_always_reason(
    openai: Router, model: str
) -> None:
    with pytest.raises(ProblemError, match="needs openai-responses") as caught:
        decide(openai, read_call(model=model, tools=[TOOL]), OPENAI_CHAT)
    assert caught.value.problem.kind == "no_target"


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("fast", ["openai/gpt-6-luna", "openai/gpt-6.1-terra"]),
        ("smart", ["openai/gpt-6-sol"]),
        ("auto", ["openai/gpt-6-sol"]),
    ],
)
def test_a_chat_call_with_tools_goes_to_openai_models_that_can_skip_reasoning(
    openai: Router, model: str, served: list[str]
) -> None:
    _, plan = decide(openai, read_call(model=model, tools=[TOOL]), OPENAI_CHAT)
    assert world.names(plan) == served
    reasons = {item.reason for item in plan.skipped if item.reason != capabilities.OFF_REASON}
    assert reasons <= {"needs openai-responses"}


def test_a_proof_with_tools_moves_to_a_tier_that_takes_tools(openai: Router) -> None:
    call = read_call(tools=[TOOL], messages=[{"role": "user", "content": "Prove it."}])
    decision, plan = decide(openai, call, OPENAI_CHAT)
    assert (decision.tier, decision.rule) == ("smart", "proofs are reasoned")
    assert world.names(plan) == ["openai/gpt-6-sol"]
    assert "constraint: smart (no target of reasoning can serve this call)" in world.lines(decision)


def test_a_chat_call_with_tools_and_high_effort_needs_responses(openai: Router) -> None:
    call = read_call(model="gpt-6-luna", tools=[TOOL], reasoning_effort="high")
    with pytest.raises(ProblemError, match="needs openai-responses"):
        decide(openai, call, OPENAI_CHAT)
    _, plan = decide(
        openai, read_call(model="gpt-6-luna", tools=[TOOL], reasoning_effort="none"), OPENAI_CHAT
    )
    assert world.names(plan) == ["openai/gpt-6-luna"]


def chat_call(**more: Any) -> features.Features:
    """Return a Chat Completions call that may be translated."""
    value = {"model": "auto", "messages": [{"role": "user", "content": "a"}], **more}
    body = OPENAI_CHAT.read(jsonio.dumps(value))
    return features.read(
        body.prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS, TranslatableRequest(OPENAI_CHAT, body)
    )


def target_with(*dialects: str, **facts: Any) -> Target:
    provider = Provider(name="p", urls=dict.fromkeys(dialects, "https://p.example"))
    return Target(provider=provider, model="m", facts=ModelFacts(**facts))


def test_the_native_dialect_comes_first_then_the_others_in_order() -> None:
    call = chat_call()
    assert choose_dialect(target_with("gemini", "openai-chat"), call, OPENAI_CHAT) == (
        "openai-chat",
        "",
    )
    assert choose_dialect(target_with("gemini", "anthropic-messages"), call, OPENAI_CHAT) == (
        "gemini",
        "",
    )
    assert can_reach_provider(target_with("gemini").provider, call, OPENAI_CHAT)
    assert not can_reach_provider(target_with("cohere").provider, call, OPENAI_CHAT)


def test_a_call_that_the_native_endpoint_cannot_take_is_translated() -> None:
    """OpenAI takes tools beside reasoning, and effort max, on Responses alone."""
    dialects = ("openai-chat", "openai-responses")
    tools = chat_call(tools=[TOOL])
    assert choose_dialect(target_with(*dialects, chat_tool_efforts=()), tools, OPENAI_CHAT) == (
        "openai-responses",
        "",
    )
    efforts = {
        "efforts": ("low", "max"),
        "chat_efforts": ("low",),
        "effort_style": "reasoning_effort",
    }
    most = chat_call(reasoning_effort="max")
    assert choose_dialect(target_with(*dialects, **efforts), most, OPENAI_CHAT) == (
        "openai-responses",
        "",
    )
    assert choose_dialect(target_with("openai-chat", **efforts), most, OPENAI_CHAT) == (
        "openai-chat",
        "",
    )
    assert (
        choose_dialect(
            target_with(*dialects, **efforts), chat_call(reasoning_effort="low"), OPENAI_CHAT
        )[0]
        == "openai-chat"
    )


def test_a_call_that_no_dialect_can_express_gets_a_reason() -> None:
    """The reason of the native dialect comes first, if there is one."""
    likely = chat_call(logprobs=True)
    name, why = choose_dialect(target_with("anthropic-messages"), likely, OPENAI_CHAT)
    assert (name, "logprobs" in why) == ("", True)
    target = target_with("openai-chat", "anthropic-messages", sampling="never")
    assert choose_dialect(target, likely, OPENAI_CHAT) == ("", "sends no logprobs while it reasons")
    blind = target_with("anthropic-messages", tools=False)
    assert choose_dialect(blind, chat_call(tools=[TOOL]), OPENAI_CHAT) == (
        "",
        "does not accept tools",
    )


def test_a_target_is_skipped_if_the_client_cannot_get_its_images_or_audio() -> None:
    """A native answer passes as it is."""
    call, painter = chat_call(), target_with("openai-chat", answer_media=("image",))
    speaker = target_with("openai-chat", answer_media=("image", "audio"))
    assert choose_dialect(painter, call, OPENAI_RESPONSES) == ("openai-chat", "")
    assert choose_dialect(painter, call, GEMINI) == ("openai-chat", "")
    assert choose_dialect(speaker, call, OPENAI_CHAT) == ("openai-chat", "")
    reason = "answers with image, which anthropic-messages cannot carry"
    assert choose_dialect(painter, call, ANTHROPIC_MESSAGES) == ("", reason)
    reason = "answers with audio, which openai-responses cannot carry"
    assert choose_dialect(speaker, call, OPENAI_RESPONSES) == ("", reason)


def test_a_responses_provider_counts_tokens_only_if_the_operator_says_so() -> None:
    """Few hosts of Responses count tokens, so a provider must say so, native or translated."""
    count = OPERATIONS["openai-responses", "count_tokens"]
    body = count.read(b'{"input":"a"}')
    call = features.read(
        body.prompt, count.name, OPEN_KEY, NO_OPTIONS, TranslatableRequest(count, body)
    )
    plain = target_with("openai-responses")
    assert choose_dialect(plain, call, count) == ("", "is not known to count tokens")
    assert not can_reach_provider(plain.provider, call, count)
    counting = msgspec.structs.replace(plain.provider, counts_tokens=True)
    assert choose_dialect(msgspec.structs.replace(plain, provider=counting), call, count) == (
        count.name,
        "",
    )
    assert can_reach_provider(counting, call, count)
    translating = target_with("openai-responses", "gemini")
    assert choose_dialect(translating, call, count) == ("gemini", "")
    painter = target_with("gemini", answer_media=("image",))  # a count answers with no image
    assert choose_dialect(painter, call, count) == ("gemini", "")


def test_a_call_that_names_an_earlier_answer_needs_a_provider_that_keeps_answers() -> None:
    """A call that names an earlier answer goes nowhere else, in no dialect; all other calls may."""
    value = {"model": "auto", "input": "a", "previous_response_id": "resp_1"}
    body = OPENAI_RESPONSES.read(jsonio.dumps(value))
    call = features.read(
        body.prompt,
        OPENAI_RESPONSES.name,
        OPEN_KEY,
        NO_OPTIONS,
        TranslatableRequest(OPENAI_RESPONSES, body),
    )
    plain = target_with("openai-responses", "gemini")
    assert choose_dialect(plain, call, OPENAI_RESPONSES) == ("", "does not keep earlier answers")
    assert not can_reach_provider(plain.provider, call, OPENAI_RESPONSES)
    keeping = msgspec.structs.replace(plain.provider, keeps_responses=True)
    target = msgspec.structs.replace(plain, provider=keeping)
    assert choose_dialect(target, call, OPENAI_RESPONSES) == (OPENAI_RESPONSES.name, "")
    assert can_reach_provider(keeping, call, OPENAI_RESPONSES)
    assert explain_unreachable(call, OPENAI_RESPONSES) == "does not keep earlier answers"
    assert explain_unreachable(chat_call(), OPENAI_CHAT) == "does not speak openai-chat"


def test_a_refusal_tells_the_client_what_to_do_and_the_operator_what_to_set() -> None:
    skipped = [SkippedTarget("p/m", "fast", capabilities.NO_EARLIER_RESPONSES)]
    problem = refusals.no_target("lab p", skipped, "previous_response_id").problem
    assert (problem.kind, problem.param) == ("not_found", "previous_response_id")
    assert "without `previous_response_id`" in problem.message
    assert "keeps_responses" not in problem.message
    assert "`keeps_responses: true`" in problem.operator_message


def test_a_call_without_its_request_body_is_never_translated() -> None:
    call = world.call("a")
    assert choose_dialect(target_with("gemini"), call, OPENAI_CHAT) == ("", "needs gemini")
    assert not can_reach_provider(target_with("gemini").provider, call, OPENAI_CHAT)


def test_the_gateway_checks_media_urls_once_for_all_targets_of_a_provider() -> None:
    """One check serves all targets of a provider, since the media are the same."""
    closed = Provider(
        name="host", urls={"openai-chat": "https://host.example"}, accounts=(), media="data"
    )
    original, checks = world.call("a", images=1), 0

    class CountingFeatures(type(original)):  # type: ignore[misc]  # the class of a value
        def find_media_problem(self, target: Target) -> str:
            nonlocal checks
            checks += 1
            return f"{target.provider.name} takes no URL"

    call = CountingFeatures(original.prompt, original.dialect, original.key, original.options)
    for model in ("one", "two"):
        target = Target(provider=closed, model=model, facts=ModelFacts())
        assert choose_dialect(target, call, OPENAI_CHAT) == ("", "host takes no URL")
    assert checks == 1
