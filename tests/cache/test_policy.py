"""The cache policy: which calls the response cache serves, and what turns more of them on."""

from typing import Any

import pytest

from gateway.cache.policy import CachePolicy
from gateway.core.call import CacheMode, Call, Key, RequestOptions
from gateway.core.decision import Decision
from gateway.core.prompt import Prompt
from gateway.dialects import OPERATIONS
from tests.server.gate import GENERATE

TOOLS = {
    "openai-chat": b'[{"type":"function","function":{"name":"f"}}]',
    "openai-responses": b'[{"type":"function","name":"f"}]',
    "anthropic-messages": b'[{"name":"f","input_schema":{}}]',
    "gemini": b'[{"functionDeclarations":[{"name":"f"}]}]',
}
CHAT = b'"messages":[{"role":"user","content":"hi"}]'
ASKS: dict[str, tuple[str, str, bytes]] = {
    "openai-chat": ("openai-chat", "", CHAT),
    "openai-responses": ("openai-responses", "", b'"input":"hi"'),
    "anthropic-messages": ("anthropic-messages", "", b'"max_tokens":9,' + CHAT),
    "gemini": ("gemini", GENERATE, b'"contents":[{"parts":[{"text":"hi"}]}]'),
}
CHATS = sorted(ASKS)
MODES: list[CacheMode] = ["off", "embeddings", "deterministic", "on"]


def prompt(dialect: str, members: bytes = b"", temperature: bytes | None = None) -> Prompt:
    """Read a chat request of a dialect, with more members."""
    name, path, body = ASKS[dialect]
    if temperature is not None:
        at = (
            b'"generationConfig":{"temperature":%b}' if dialect == "gemini" else b'"temperature":%b'
        )
        body += b"," + at % temperature
    data = b'{"model":"m",' + body + (b"," + members if members else b"") + b"}"
    call = Call(
        id="1", dialect=name, operation="generate", body=data, path=path.removeprefix("/v1beta/models/"),
        received_at=0.0, started_at=0.0,
    )  # fmt: skip
    return OPERATIONS[name, "generate"].read_call(call).prompt


def serves(
    prompt: Prompt,
    mode: CacheMode = "deterministic",
    *,
    operation: str = "generate",
    header: str | None = None,
    key: CacheMode | None = None,
    guard: bool = False,
    no_cache: bool = False,
    sampled: bool = False,
) -> bool:
    call = Call(
        id="1", dialect="openai-chat", operation=operation, body=b"", received_at=0.0, started_at=0.0,
        key=Key(name="k", cache=key), options=RequestOptions(cache=header),
    )  # fmt: skip
    decision = Decision(
        lab="l", tier="smart", source="default", no_cache=no_cache, cache=guard, trace=()
    )
    return CachePolicy(mode, sampled=sampled).serves(call, prompt, decision)


def serving_modes(prompt: Prompt, **more: Any) -> list[CacheMode]:
    """Name the modes that serve a call."""
    return [mode for mode in MODES if serves(prompt, mode, **more)]


def test_embeddings_are_cached_in_every_mode_but_off() -> None:
    plain = Prompt(model="m")
    assert serving_modes(plain, operation="embeddings") == ["embeddings", "deterministic", "on"]


@pytest.mark.parametrize("dialect", CHATS)
@pytest.mark.parametrize("zero", [b"0", b"0.0", b"-0.0", b"0e3"])
def test_chat_at_an_explicit_temperature_of_zero_is_cached_as_deterministic(
    dialect: str, zero: bytes
) -> None:
    assert serving_modes(prompt(dialect, temperature=zero)) == ["deterministic", "on"]


@pytest.mark.parametrize("dialect", CHATS)
@pytest.mark.parametrize("temperature", [None, b"null", b"false", b'"0"', b"[]"])
def test_chat_without_an_explicit_temperature_is_cached_in_mode_on_only(
    dialect: str, temperature: bytes | None
) -> None:
    """The provider's own default does not count as a temperature of 0."""
    assert serving_modes(prompt(dialect, temperature=temperature)) == ["on"]


@pytest.mark.parametrize("dialect", CHATS)
@pytest.mark.parametrize("temperature", [b"0.1", b"1", b"1e-9"])
def test_a_temperature_above_zero_is_cached_only_with_sampled(
    dialect: str, temperature: bytes
) -> None:
    sampled_prompt = prompt(dialect, temperature=temperature)
    assert serving_modes(sampled_prompt) == []
    assert serving_modes(sampled_prompt, header="on") == []
    assert serving_modes(sampled_prompt, sampled=True) == ["on"]
    assert serving_modes(sampled_prompt, sampled=True, header="on") == MODES


@pytest.mark.parametrize("dialect", CHATS)
def test_a_call_with_tools_is_never_cached_as_deterministic(dialect: str) -> None:
    assert serving_modes(prompt(dialect, b'"tools":' + TOOLS[dialect], b"0")) == ["on"]


@pytest.mark.parametrize("members", [b'"functions":[{"name":"f"}]', b'"tools":[{"type":"x"}]'])
def test_functions_and_unnamed_tools_count_as_tools(members: bytes) -> None:
    assert "deterministic" not in serving_modes(prompt("openai-chat", members, b"0"))


def test_counts_of_tokens_are_cached_in_mode_on_only() -> None:
    sampled_prompt = prompt("anthropic-messages", temperature=b"0")
    assert serving_modes(sampled_prompt, operation="count_tokens") == ["on"]


@pytest.mark.parametrize(
    "who", [{"header": "on"}, {"header": "refresh"}, {"guard": True}, {"key": "on"}], ids=str
)
@pytest.mark.parametrize("dialect", CHATS)
def test_a_header_a_guard_or_a_key_turns_the_cache_on(dialect: str, who: dict[str, Any]) -> None:
    assert serving_modes(prompt(dialect, b'"tools":' + TOOLS[dialect]), **who) == MODES


@pytest.mark.parametrize("header", ["exact", "no-cache"])
def test_the_headers_exact_and_no_cache_turn_nothing_on(header: str) -> None:
    assert serving_modes(prompt("openai-chat"), header=header) == ["on"]
    assert serving_modes(prompt("openai-chat", temperature=b"0"), header=header) == [
        "deterministic",
        "on",
    ]


def test_a_key_has_its_own_cache_mode() -> None:
    zero = prompt("openai-chat", temperature=b"0")
    assert serving_modes(zero, key="off") == []
    assert serving_modes(zero, key="embeddings") == []
    assert serving_modes(zero, key="deterministic") == MODES
    assert serving_modes(prompt("openai-chat"), key="deterministic") == []


@pytest.mark.parametrize("who", [{"header": "off"}, {"no_cache": True}], ids=str)
def test_a_client_or_a_guard_turns_the_cache_off_over_any_other_setting(
    who: dict[str, Any],
) -> None:
    zero = prompt("openai-chat", temperature=b"0")
    for more in ({}, {"guard": True}, {"key": "on"}, {"header": "on"}):
        assert serving_modes(zero, **{**more, **who}) == []


def test_a_client_may_turn_the_cache_on_over_its_key() -> None:
    assert serving_modes(prompt("openai-chat"), key="off", header="on") == MODES
    assert serving_modes(prompt("openai-chat"), key="off", guard=True) == MODES


BOUNDS = [
    ("openai-chat", b'"n":2'),
    ("openai-chat", b'"store":true'),
    ("openai-chat", b'"web_search_options":{}'),
    ("openai-responses", b'"previous_response_id":"resp_1"'),
    ("anthropic-messages", b'"container":"c"'),
    ("anthropic-messages", b'"tools":[{"type":"web_search_20250305","name":"web_search"}]'),
    ("gemini", b'"cachedContent":"c"'),
    ("gemini", b'"tools":[{"googleSearch":{}}]'),
]


@pytest.mark.parametrize(("dialect", "members"), BOUNDS)
@pytest.mark.parametrize("who", [{}, {"header": "on"}, {"guard": True}, {"key": "on"}], ids=str)
def test_no_setting_caches_a_call_whose_answer_no_equal_call_may_get(
    dialect: str, members: bytes, who: dict[str, Any]
) -> None:
    """Several choices, state at the provider, and tools that read the outside world."""
    assert serving_modes(prompt(dialect, members, b"0"), sampled=True, **who) == []
