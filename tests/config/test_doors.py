"""Dialects of the shipped labs: any client reaches any lab, and each target gets its effort."""

from collections.abc import Mapping

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.target import TIERS, Target
from gateway.dialects import DIALECTS, RequestBody, TranslatableRequest, WrittenBody, translation
from gateway.routing import features
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import compile_rules
from tests.config import shipped
from tests.config.test_files import KEYS, alone

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

ASKED = ("auto", *TIERS)
LABS = [name for name, lab in shipped.built(shipped.ALL_SET).catalogue.labs.items() if lab.enabled]
clients = pytest.mark.parametrize("client", DIALECTS)


def router(environ: Mapping[str, str]) -> Router:
    config = shipped.source(environ).config
    return Router(
        catalogue=shipped.built(environ).catalogue,
        rules=compile_rules(config.guards, config.choices),
        classifier=HeuristicClassifier(),
    )


ALL = router(shipped.ALL_SET)


def body(client: str, model: str, **more: object) -> RequestBody:
    """Return what a client of a dialect sends, read."""
    value = {**PLAIN[client], **more}
    dialect = DIALECTS[client]
    if dialect.read_with_path is not None:
        return dialect.read_with_path(jsonio.dumps(value), f"models/{model}:generateContent")
    return dialect.read(jsonio.dumps({"model": model, **value}))


def plan(client: str, asked: RequestBody, by: Router = ALL) -> tuple[Decision, Plan]:
    """Return the decision and the plan for a request."""
    seen = features.read(
        asked.prompt, client, OPEN_KEY, NO_OPTIONS, TranslatableRequest(DIALECTS[client], asked)
    )
    return decide(by, seen, DIALECTS[client])


def doors(client: str, asked: RequestBody, by: Router = ALL) -> list[tuple[str, str]]:
    """Return each target of the plan, with the dialect of its endpoint."""
    found = plan(client, asked, by)[1]
    return [(target.name, door) for target, door in zip(found.targets, found.dialects, strict=True)]


def written(client: str, asked: RequestBody, target: Target, door: str) -> WrittenBody:
    """Return the body that a target gets."""
    dialect = DIALECTS[client]
    if door == client:
        return dialect.write(asked, target)
    return translation.write_request(
        TranslatableRequest(dialect, asked).request, DIALECTS[door], target
    )


def accepted(door: str, sent: WrittenBody) -> RequestBody:
    """Read a body as a request of the target's own dialect."""
    dialect = DIALECTS[door]
    if dialect.read_with_path is not None:
        assert sent.url_suffix is not None
        return dialect.read_with_path(
            sent.body, sent.url_suffix.removeprefix("/").partition("?")[0]
        )
    return dialect.read(sent.body)


@clients
@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("tier", ASKED)
def test_any_client_reaches_every_tier_of_any_lab_at_a_door_that_takes_what_it_is_sent(
    client: str, lab: str, tier: str
) -> None:
    """No target is skipped, a plain request has no loss, and each target gets its effort."""
    asked = body(client, f"{lab}/{tier}")
    decision, found = plan(client, asked)
    assert decision.lab == lab
    assert decision.tier is not None
    assert tier in ("auto", decision.tier)
    assert found.targets == ALL.catalogue.labs[lab].tiers[decision.tier]
    assert found.skipped == ()
    for target, door in zip(found.targets, found.dialects, strict=True):
        assert (door == client) == (client in target.provider.urls)
        sent = written(client, asked, target, door)
        assert sent.losses == ()
        read = accepted(door, sent)
        assert read.prompt.model == target.model
        assert read.prompt.user == TEXT
        bare = msgspec.structs.replace(target, effort=None, params={})
        silent = written(client, asked, bare, door).body == sent.body
        assert silent == (target.effort is None), (target.name, door)


SAID = {
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
}  # fmt: skip
"""The members that set an effort, by target, dialect and effort."""


@pytest.mark.parametrize(("at", "members"), SAID.items())
def test_effort_is_told_in_the_words_of_the_door(at: tuple[str, str, str], members: str) -> None:
    name, door, effort = at
    targets = [
        target
        for lab in ALL.catalogue.labs.values()
        for row in lab.tiers.values()
        for target in row
        if (target.name, target.effort) == (name, effort)
    ]
    for client in DIALECTS:
        asked = body(client, "auto")
        assert members in written(client, asked, targets[0], door).body.decode()


@clients
@pytest.mark.parametrize(("variable", "labs"), KEYS.items())
def test_one_key_serves_any_client(client: str, variable: str, labs: tuple[str, ...]) -> None:
    by = router(alone(variable))
    for lab in labs:
        tiers = by.catalogue.labs[lab].tiers
        filled = [tier for tier in TIERS if any(target.provider.enabled for target in tiers[tier])]
        for asked in ("auto", *filled):
            assert doors(client, body(client, f"{lab}/{asked}"), by), (lab, asked)


@clients
def test_the_local_model_serves_any_client(client: str) -> None:
    for asked in ASKED:
        assert doors(client, body(client, asked), router({}))[0][0] == "local/smollm2-135m"


def test_a_client_with_tools_is_served_by_models_that_take_them_on_responses_alone() -> None:
    """Chat Completions refuses function tools beside reasoning; the other dialects do not."""
    own = ("openai/gpt-6.2-astra", "openai/gpt-6.2-sol", "openai/gpt-6-astra")
    for client in DIALECTS:
        asked = body(client, "openai/reasoning", tools=TOOLS[client])
        found = doors(client, asked)
        assert found[:3] == [(name, "openai-responses") for name in own]
        assert ("azure-openai/gpt-6.1-sol", "openai-responses") in found
    chat = body("openai-chat", "openai/reasoning", tools=TOOLS["openai-chat"])
    target = plan("openai-chat", chat)[1].targets[0]
    value = jsonio.loads(written("openai-chat", chat, target, "openai-responses").body)
    assert value["tools"] == [{**value["tools"][0], "type": "function", "name": "weather"}]
    assert value["tools"][0]["parameters"] == PARAMETERS
    assert (value["reasoning"], value["store"]) == ({"effort": "high"}, False)


def test_tools_are_taken_by_the_first_target_of_every_tier_of_every_lab_that_has_any() -> None:
    for client in DIALECTS:
        for lab in LABS:
            for tier in TIERS:
                asked = body(client, f"{lab}/{tier}", tools=TOOLS[client])
                first = ALL.catalogue.labs[lab].tiers[tier][0]
                assert doors(client, asked)[0][0] == first.name, (client, lab, tier)


def test_a_plain_chat_request_stays_what_it_is_at_openai() -> None:
    found = doors("openai-chat", body("openai-chat", "openai/reasoning"))
    assert {door for _, door in found} == {"openai-chat"}


def test_what_responses_cannot_say_goes_through_chat_completions() -> None:
    stop = body("anthropic-messages", "openai/fast", stop_sequences=["END"])
    assert doors("anthropic-messages", stop)[0] == ("openai/gpt-6-luna", "openai-chat")
    asked = body("anthropic-messages", "openai/fast")
    assert doors("anthropic-messages", asked)[0] == ("openai/gpt-6-luna", "openai-responses")
    both = body(
        "anthropic-messages", "openai/smart", stop_sequences=["END"],
        tools=TOOLS["anthropic-messages"],
    )  # fmt: skip
    assert doors("anthropic-messages", both)[0] == ("openai/gpt-6-sol", "openai-chat")


def test_gemini_is_asked_in_its_own_dialect_and_on_chat_for_what_that_cannot_say() -> None:
    for client in DIALECTS:
        found = doors(client, body(client, "google/smart"))
        assert found[0] == ("gemini/gemini-4-hydrogen", "gemini")
        assert found[-2] == ("gemini-chat/gemini-4-hydrogen", "openai-chat")
    part = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    picture = body("openai-chat", "google/smart", messages=[{"role": "user", "content": [part]}])
    assert doors("openai-chat", picture)[0] == ("gemini-chat/gemini-4-hydrogen", "openai-chat")


def test_google_s_door_is_the_path_that_a_model_and_a_method_are_added_to() -> None:
    gemini = shipped.built(shipped.ALL_SET).providers["gemini"]
    assert (gemini.auth, gemini.urls) == (
        "x-goog-api-key",
        {"gemini": "https://generativelanguage.googleapis.com/v1beta"},
    )
    asked = body("openai-chat", "google/fast", stream=True)
    target = plan("openai-chat", asked)[1].targets[0]
    tail = written("openai-chat", asked, target, "gemini").url_suffix
    assert tail == "/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse"


FIRST = {
    "openai-responses": {"openai", "azure-openai", "xai", "meta"},
    "anthropic-messages": {"anthropic", "bedrock-claude", "azure-claude", "openrouter-claude"},
    "gemini": {"gemini"},
}
"""Providers that get a dialect other than Chat Completions if the client speaks none of theirs."""


def test_the_first_door_of_a_provider_is_the_one_that_carries_reasoning() -> None:
    for name, provider in shipped.built(shipped.ALL_SET).providers.items():
        first = next(iter(provider.urls))
        assert name in FIRST.get(first, set()) or first == "openai-chat", name
        assert {door for door, names in FIRST.items() if name in names} <= {first}, name


def test_what_is_not_to_be_kept_is_told_to_hosts_that_keep_answers_and_to_no_other() -> None:
    """The client of Responses sends `store: false`."""
    asked = body("openai-responses", "auto", store=False)
    told = {}
    for lab in LABS:
        found = plan("openai-responses", body("openai-responses", f"{lab}/smart", store=False))[1]
        for target, door in zip(found.targets, found.dialects, strict=True):
            if door == "openai-responses":
                sent = written("openai-responses", asked, target, door).body
                told[target.provider.name] = b'"store":false' in sent
    assert told == {
        "openai": True, "azure-openai": True, "xai": True, "meta": True, "groq": True,
        "openrouter": False, "deepseek": False, "vllm": False,
    }  # fmt: skip


def test_an_earlier_answer_is_asked_of_providers_that_keep_answers() -> None:
    for model in ("openai/smart", "smart", "auto"):
        asked = body("openai-responses", model, previous_response_id="resp_1")
        found = doors("openai-responses", asked)
        assert {name.partition("/")[0] for name, _ in found} == {"openai", "azure-openai"}
        assert {door for _, door in found} == {"openai-responses"}
    asked = body("openai-responses", "xai/smart", previous_response_id="resp_1")
    assert {name.partition("/")[0] for name, _ in doors("openai-responses", asked)} == {"xai"}
    for lab in {*LABS} - {"openai", "xai"}:
        asked = body("openai-responses", f"{lab}/smart", previous_response_id="resp_1")
        with pytest.raises(ProblemError, match="keeps no earlier answers"):
            plan("openai-responses", asked)


@clients
@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("google/gemini-4-argon", "gemini/gemini-4-argon"),
        ("google/gemini-3.8-flash", "gemini/gemini-3.8-flash"),
        ("qwen/qwen3.7-plus", "dashscope/qwen3.7-plus"),
        ("qwen/qwen3.8-flash", "dashscope/qwen3.8-flash"),
        ("cohere/command-r7b-12-2024", "cohere/command-r7b-12-2024"),
    ],
)
def test_a_lab_with_a_model_means_the_lab_s_own_where_a_host_has_the_same_name_for_it(
    client: str, asked: str, own: str
) -> None:
    assert doors(client, body(client, asked))[0][0] == own
    only = router({"OPENROUTER_API_KEY": "set"})
    assert doors(client, body(client, asked), only)[0][0] == f"openrouter/{asked}"
