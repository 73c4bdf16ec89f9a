"""Dialects of the shipped labs: any client reaches any lab, and each target gets its effort."""

from collections.abc import Mapping
from urllib.parse import unquote

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.target import TIERS, Target
from gateway.dialects import (
    DIALECTS,
    TARGET_OPERATIONS,
    RequestBody,
    TranslatableRequest,
    WrittenBody,
    translation,
)
from gateway.routing import features
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.router import Router, decide
from tests.config import shipped
from tests.config.test_files import KEYS, environment_with

TEXT = "Prove that there are infinitely many primes."
PLAIN: Mapping[str, dict[str, object]] = {
    "openai-chat": {"messages": [{"role": "user", "content": TEXT}]},
    "openai-responses": {"input": TEXT},
    "anthropic-messages": {"max_tokens": 4096, "messages": [{"role": "user", "content": TEXT}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
}
"""The shortest request of each dialect."""

PARAMETERS = {"type": "object", "properties": {"town": {"type": "string"}}}
TOOLS: Mapping[str, list[object]] = {
    "openai-chat": [
        {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
    ],
    "openai-responses": [{"type": "function", "name": "weather", "parameters": PARAMETERS}],
    "anthropic-messages": [{"name": "weather", "input_schema": PARAMETERS}],
    "gemini": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": PARAMETERS}]}],
}
"""One function tool, as each dialect offers it."""

TIER_NAMES = ("auto", *TIERS)
LABS = [name for name, lab in shipped.built(shipped.ALL_SET).catalogue.labs.items() if lab.enabled]
clients = pytest.mark.parametrize("client", DIALECTS)


def make_router(environ: Mapping[str, str]) -> Router:
    return shipped.router(environ, HeuristicClassifier())


ALL = make_router(shipped.ALL_SET)


def make_request(client: str, model: str, **more: object) -> RequestBody:
    """Return what a client of a dialect sends, read."""
    value = {**PLAIN[client], **more}
    dialect = DIALECTS[client]
    if dialect.read_with_path is not None:
        return dialect.read_with_path(jsonio.dumps(value), f"models/{model}:generateContent")
    return dialect.read(jsonio.dumps({"model": model, **value}))


def plan_request(client: str, request: RequestBody, router: Router = ALL) -> tuple[Decision, Plan]:
    """Return the decision and the plan for a request."""
    call = features.read(
        request.prompt, client, OPEN_KEY, NO_OPTIONS, TranslatableRequest(DIALECTS[client], request)
    )
    return decide(router, call, DIALECTS[client])


def list_endpoints(
    client: str, request: RequestBody, router: Router = ALL
) -> list[tuple[str, str]]:
    """Return each target of the plan, with the dialect of its endpoint."""
    planned = plan_request(client, request, router)[1]
    return [
        (target.name, endpoint)
        for target, endpoint in zip(planned.targets, planned.dialects, strict=True)
    ]


def write_request(client: str, request: RequestBody, target: Target, endpoint: str) -> WrittenBody:
    """Return the body that a target gets."""
    dialect = DIALECTS[client]
    if endpoint == client:
        return dialect.write(request, target)
    target_dialect = TARGET_OPERATIONS[endpoint, "generate"]
    return translation.write_request(
        TranslatableRequest(dialect, request).request, target_dialect, target
    )


def read_written(endpoint: str, written: WrittenBody) -> tuple[str, str]:
    """Return the model and the user's text that the target receives."""
    if endpoint == "bedrock-converse":
        assert written.url_suffix is not None
        text = jsonio.loads(written.body)["messages"][0]["content"][0]["text"]
        return unquote(written.url_suffix.split("/")[2]), text
    dialect = DIALECTS[endpoint]
    if dialect.read_with_path is not None:
        assert written.url_suffix is not None
        path = written.url_suffix.removeprefix("/").partition("?")[0]
        received = dialect.read_with_path(written.body, path)
    else:
        received = dialect.read(written.body)
    return received.prompt.model, received.prompt.user


@clients
@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("tier", TIER_NAMES)
def test_any_client_reaches_every_tier_of_any_lab_without_losses(
    client: str, lab: str, tier: str
) -> None:
    """No target is skipped, a plain request has no loss, and each target gets its effort."""
    request = make_request(client, f"{lab}/{tier}")
    decision, planned = plan_request(client, request)
    assert decision.lab == lab
    assert decision.tier is not None
    assert tier in ("auto", decision.tier)
    assert planned.targets == ALL.catalogue.labs[lab].tiers[decision.tier]
    assert planned.skipped == ()
    for target, endpoint in zip(planned.targets, planned.dialects, strict=True):
        assert (endpoint == client) == (client in target.provider.urls)
        written = write_request(client, request, target, endpoint)
        assert written.losses == ()
        assert read_written(endpoint, written) == (target.model, TEXT)
        bare = msgspec.structs.replace(target, effort=None, params={})
        silent = write_request(client, request, bare, endpoint).body == written.body
        assert silent == (target.effort is None), (target.name, endpoint)


EFFORT_MEMBERS = {
    ("openai/gpt-6.2-sol", "openai-responses", "low"): '"reasoning":{"effort":"low"}',
    ("openai/gpt-6.2-sol", "openai-chat", "low"): '"reasoning_effort":"low"',
    ("openai/gpt-6-luna", "openai-responses", "none"): '"reasoning":{"effort":"none"}',
    ("xai/grok-4.7", "openai-responses", "xhigh"): '"reasoning":{"effort":"xhigh"}',
    ("meta/muse-ember-1.0", "openai-responses", "minimal"): '"reasoning":{"effort":"minimal"}',
    ("deepseek/deepseek-flash", "openai-responses", "max"): '"reasoning":{"effort":"max"}',
    ("deepseek/deepseek-flash", "openai-chat", "low"):
        '"thinking":{"type":"enabled"},"reasoning_effort":"low"',
    ("deepseek/deepseek-flash", "anthropic-messages", "low"):
        '"thinking":{"type":"enabled","budget_tokens":2048},"output_config":{"effort":"low"}',
    ("openrouter/openai/gpt-6-luna", "openai-chat", "none"): '"reasoning":{"enabled":false}',
    ("openrouter/openai/gpt-6-luna", "openai-responses", "none"): '"reasoning":{"effort":"none"}',
    ("openrouter-claude/anthropic/claude-opus-5.5", "openai-chat", "high"):
        '"reasoning":{"effort":"high"}',
    ("anthropic/claude-sonnet-5-5", "anthropic-messages", "medium"):
        '"thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}',
    ("gemini/gemini-3.5-flash-lite", "gemini", "minimal"):
        '"thinkingConfig":{"thinkingLevel":"MINIMAL"}',
    ("gemini/gemini-4-hydrogen", "gemini", "xhigh"): '"thinkingConfig":{"thinkingLevel":"XHIGH"}',
    ("gemini-chat/gemini-4-argon", "openai-chat", "high"): '"reasoning_effort":"high"',
    ("minimax/MiniMax-M3", "openai-chat", "none"): '"thinking":{"type":"disabled"}',
    ("dashscope/qwen3.8-max", "openai-chat", "xhigh"):
        '"enable_thinking":true,"reasoning_effort":"xhigh"',
    ("moonshot/kimi-k2.6", "anthropic-messages", "none"): '"thinking":{"type":"disabled"}',
    ("bedrock-converse/global.amazon.nova-2-lite-v1:0", "bedrock-converse", "none"):
        '"additionalModelRequestFields":{"reasoningConfig":{"type":"disabled"}}',
    ("bedrock-converse/global.amazon.nova-2-lite-v1:0", "bedrock-converse", "medium"):
        '"reasoningConfig":{"type":"enabled","maxReasoningEffort":"medium"}',
}  # fmt: skip
"""The members that set an effort, by target, dialect and effort."""


@pytest.mark.parametrize(("at", "members"), EFFORT_MEMBERS.items())
def test_the_effort_is_written_in_the_members_of_the_target_dialect(
    at: tuple[str, str, str], members: str
) -> None:
    name, endpoint, effort = at
    targets = [
        target
        for lab in ALL.catalogue.labs.values()
        for row in lab.tiers.values()
        for target in row
        if (target.name, target.effort) == (name, effort)
    ]
    for client in DIALECTS:
        request = make_request(client, "auto")
        assert members in write_request(client, request, targets[0], endpoint).body.decode()


@clients
@pytest.mark.parametrize(("variable", "labs"), KEYS.items())
def test_one_provider_key_serves_clients_of_any_dialect(
    client: str, variable: str, labs: tuple[str, ...]
) -> None:
    router = make_router(environment_with(variable))
    for lab in labs:
        tiers = router.catalogue.labs[lab].tiers
        filled = [tier for tier in TIERS if any(target.provider.enabled for target in tiers[tier])]
        for name in ("auto", *filled):
            assert list_endpoints(client, make_request(client, f"{lab}/{name}"), router), (
                lab,
                name,
            )


@clients
def test_the_local_model_serves_clients_of_any_dialect(client: str) -> None:
    for name in TIER_NAMES:
        assert (
            list_endpoints(client, make_request(client, name), make_router({}))[0][0]
            == "local/smollm2-135m"
        )


def test_tools_go_to_openai_models_that_take_them_only_on_responses() -> None:
    """Chat Completions refuses function tools beside reasoning; the other dialects do not."""
    own = ("openai/gpt-6.2-astra", "openai/gpt-6.2-sol", "openai/gpt-6-astra")
    for client in DIALECTS:
        request = make_request(client, "openai/reasoning", tools=TOOLS[client])
        endpoints = list_endpoints(client, request)
        assert endpoints[:3] == [(name, "openai-responses") for name in own]
        assert ("azure-openai/gpt-6.1-sol", "openai-responses") in endpoints
    chat = make_request("openai-chat", "openai/reasoning", tools=TOOLS["openai-chat"])
    target = plan_request("openai-chat", chat)[1].targets[0]
    value = jsonio.loads(write_request("openai-chat", chat, target, "openai-responses").body)
    assert value["tools"] == [{**value["tools"][0], "type": "function", "name": "weather"}]
    assert value["tools"][0]["parameters"] == PARAMETERS
    assert (value["reasoning"], value["store"]) == ({"effort": "high"}, False)


def test_the_first_target_of_every_tier_takes_tools() -> None:
    for client in DIALECTS:
        for lab in LABS:
            for tier in TIERS:
                request = make_request(client, f"{lab}/{tier}", tools=TOOLS[client])
                first = ALL.catalogue.labs[lab].tiers[tier][0]
                assert list_endpoints(client, request)[0][0] == first.name, (client, lab, tier)


def test_openai_gets_a_plain_chat_request_natively() -> None:
    endpoints = list_endpoints("openai-chat", make_request("openai-chat", "openai/reasoning"))
    assert {endpoint for _, endpoint in endpoints} == {"openai-chat"}


def test_a_request_that_responses_cannot_express_goes_to_chat_completions() -> None:
    stop = make_request("anthropic-messages", "openai/fast", stop_sequences=["END"])
    assert list_endpoints("anthropic-messages", stop)[0] == ("openai/gpt-6-luna", "openai-chat")
    request = make_request("anthropic-messages", "openai/fast")
    assert list_endpoints("anthropic-messages", request)[0] == (
        "openai/gpt-6-luna",
        "openai-responses",
    )
    with_tools = make_request(
        "anthropic-messages", "openai/smart", stop_sequences=["END"],
        tools=TOOLS["anthropic-messages"],
    )  # fmt: skip
    assert list_endpoints("anthropic-messages", with_tools)[0] == (
        "openai/gpt-6-sol",
        "openai-chat",
    )


def test_google_gets_requests_in_its_dialect_or_else_on_chat_completions() -> None:
    for client in DIALECTS:
        endpoints = list_endpoints(client, make_request(client, "google/smart"))
        assert endpoints[0] == ("gemini/gemini-4-hydrogen", "gemini")
        assert endpoints[-2] == ("gemini-chat/gemini-4-hydrogen", "openai-chat")
    part = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    picture = make_request(
        "openai-chat", "google/smart", messages=[{"role": "user", "content": [part]}]
    )
    assert list_endpoints("openai-chat", picture)[0] == (
        "gemini-chat/gemini-4-hydrogen",
        "openai-chat",
    )


def test_the_url_for_google_ends_in_the_model_and_the_method() -> None:
    gemini = shipped.built(shipped.ALL_SET).providers["gemini"]
    assert (gemini.auth, gemini.urls) == (
        "x-goog-api-key",
        {"gemini": "https://generativelanguage.googleapis.com/v1beta"},
    )
    request = make_request("openai-chat", "google/fast", stream=True)
    target = plan_request("openai-chat", request)[1].targets[0]
    tail = write_request("openai-chat", request, target, "gemini").url_suffix
    assert tail == "/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse"


FIRST_ENDPOINTS = {
    "openai-responses": {"openai", "azure-openai", "xai", "meta"},
    "anthropic-messages": {
        "anthropic", "bedrock-claude", "azure-claude", "openrouter-claude", "vertex-claude",
    },
    "gemini": {"gemini", "vertex"},
    "bedrock-converse": {"bedrock-converse"},
}  # fmt: skip
"""Providers that get a dialect other than Chat Completions if the client speaks none of theirs."""


def test_the_first_endpoint_of_a_provider_carries_reasoning() -> None:
    for name, provider in shipped.built(shipped.ALL_SET).providers.items():
        first = next(iter(provider.urls))
        assert name in FIRST_ENDPOINTS.get(first, set()) or first == "openai-chat", name
        assert {endpoint for endpoint, names in FIRST_ENDPOINTS.items() if name in names} <= {
            first
        }, name


def test_store_false_goes_only_to_providers_that_know_it() -> None:
    """The client of Responses sends `store: false`."""
    request = make_request("openai-responses", "auto", store=False)
    has_store = {}
    for lab in LABS:
        planned = plan_request(
            "openai-responses", make_request("openai-responses", f"{lab}/smart", store=False)
        )[1]
        for target, endpoint in zip(planned.targets, planned.dialects, strict=True):
            if endpoint == "openai-responses":
                written = write_request("openai-responses", request, target, endpoint).body
                has_store[target.provider.name] = b'"store":false' in written
    assert has_store == {
        "openai": True, "azure-openai": True, "xai": True, "meta": True, "groq": True,
        "openrouter": False, "deepseek": False, "vllm": False,
    }  # fmt: skip


def test_a_call_with_an_earlier_answer_goes_to_providers_that_keep_answers() -> None:
    for model in ("openai/smart", "smart", "auto"):
        request = make_request("openai-responses", model, previous_response_id="resp_1")
        endpoints = list_endpoints("openai-responses", request)
        assert {name.partition("/")[0] for name, _ in endpoints} == {"openai", "azure-openai"}
        assert {endpoint for _, endpoint in endpoints} == {"openai-responses"}
    request = make_request("openai-responses", "xai/smart", previous_response_id="resp_1")
    assert {name.partition("/")[0] for name, _ in list_endpoints("openai-responses", request)} == {
        "xai"
    }
    for lab in {*LABS} - {"openai", "xai"}:
        request = make_request("openai-responses", f"{lab}/smart", previous_response_id="resp_1")
        with pytest.raises(ProblemError, match="does not keep earlier answers"):
            plan_request("openai-responses", request)


@clients
@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("google/gemini-4-argon", "gemini/gemini-4-argon"),
        ("google/gemini-3.8-flash", "gemini/gemini-3.8-flash"),
        ("qwen/qwen3.7-plus", "dashscope/qwen3.7-plus"),
        ("qwen/qwen3.8-flash", "dashscope/qwen3.8-flash"),
        ("cohere/command-r7b-12-2024", "cohere/command-r7b-12-2024"),
    ],
)
def test_a_lab_and_model_mean_the_own_target_of_the_lab_before_that_of_a_host(
    client: str, model: str, own: str
) -> None:
    assert list_endpoints(client, make_request(client, model))[0][0] == own
    only = make_router({"OPENROUTER_API_KEY": "set"})
    assert list_endpoints(client, make_request(client, model), only)[0][0] == f"openrouter/{model}"
