"""A body with a long member that the gateway already knows reads the same as any other."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, parse
from gateway.dialects.base import Dialect, RequestBody
from tests.routing import world

TARGET = world.LITE
SCHEMA = {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(9)}}


def tools(count: int = 30, name: str = "f", **more: Any) -> list[Any]:
    inner = {"description": "d" * 300, "parameters": SCHEMA, **more}
    return [
        {"type": "function", "function": {"name": f"{name}{at}", **inner}} for at in range(count)
    ]


def body(offered: Any, text: str = "hi", **more: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return jsonio.dumps({"model": "m", "messages": messages, "tools": offered, **more})


def read_uncached(raw: bytes, dialect: Dialect = OPENAI_CHAT) -> RequestBody:
    """Read a body with an empty cache of known members."""
    cache, parse._outline_cache = parse._outline_cache, parse._OutlineCache()
    try:
        return dialect.read(raw)
    finally:
        parse._outline_cache = cache


@pytest.fixture(autouse=True)
def use_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "_outline_cache", parse._OutlineCache())


OFFERED: list[Any] = [
    tools(),
    [*tools(), {"type": "web_search", "filters": {"allowed": ["a"]}}, {"type": "custom", "custom": {"name": "c"}}],
    [*tools(), "odd", None, 7, [], {"type": 1}, {"function": []}, {"name": ["x"]}],
    tools(1, "n" * 500, description="d" * 5_000),
    {"odd": "o" * 5_000},
    "o" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("offered", OFFERED)
def test_a_body_reads_the_same_with_and_without_cached_tools(offered: Any) -> None:
    """The prompt is the same the first time, the second, once the member is known, and later."""
    for at in range(4):
        raw = body(offered, f"words {at}", tool_choice="required")
        request, expected = OPENAI_CHAT.read(raw), read_uncached(raw)
        assert request.prompt == expected.prompt
        assert request.value == expected.value
        assert request.members.keys() == expected.members.keys()
        assert request.raw is raw
        outer = {name: value for name, value in expected.value.items() if name != "tools"}
        assert {name: value for name, value in request.outline.items() if name != "tools"} == outer


def test_repeated_claude_code_tools_are_read_from_the_cache() -> None:
    """Messages requests with thinking, a cap and a session work in the same way."""
    offered = [{"name": f"t{at}", "description": "d" * 300, "input_schema": SCHEMA} for at in range(30)]  # fmt: skip
    offered += [{"type": "web_search_20260209", "name": "web_search"}]
    for at in range(4):
        raw = body(
            offered, f"words {at}", max_tokens=9, thinking={"type": "adaptive"},
            metadata={"user_id": "u_session_1"}, system=[{"type": "text", "text": "s"}],
        )  # fmt: skip
        request = ANTHROPIC_MESSAGES.read(raw)
        assert (request.whole is not None) == (at > 1)
        expected = read_uncached(raw, ANTHROPIC_MESSAGES)
        assert (request.prompt, request.value) == (expected.prompt, expected.value)
        assert request.prompt.hosted_tools
        assert ANTHROPIC_MESSAGES.read_start(request) == ANTHROPIC_MESSAGES.read_start(expected)
        assert ANTHROPIC_MESSAGES.write(request, TARGET) == ANTHROPIC_MESSAGES.write(
            expected, TARGET
        )


def codex(text: str, *before: Any, **more: Any) -> bytes:
    """Make a request of the Responses API with tools of every shape."""
    offered: list[Any] = [
        {"type": "function", "name": f"f{at}", "description": "d" * 300, "parameters": SCHEMA}
        for at in range(20)
    ]
    offered += [
        {"type": "namespace", "name": "mcp", "tools": offered[:3]},
        {"type": "shell", "environment": {"type": "local", "skills": [{"name": "s"}]}},
        {"type": "local_shell"},
    ]
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    request = {
        "model": "m",
        "instructions": "Be kind.",
        "input": [*before, message],
        "tools": offered,
    }
    return jsonio.dumps({**request, "store": False, "reasoning": {"effort": "low"}, **more})


def test_repeated_codex_tools_are_read_from_the_cache() -> None:
    for at in range(4):
        raw = codex(f"words {at}", max_output_tokens=9)
        request, expected = OPENAI_RESPONSES.read(raw), read_uncached(raw, OPENAI_RESPONSES)
        assert (request.whole is not None) == (at > 1)
        assert OPENAI_RESPONSES.read_start(request) == OPENAI_RESPONSES.read_start(expected)
        assert OPENAI_RESPONSES.write(request, TARGET) == OPENAI_RESPONSES.write(expected, TARGET)
        request_without, expected_without = (
            request.without_member("store"),
            expected.without_member("store"),
        )
        assert (request_without.whole is not None) == (at > 1)
        assert request.whole is None or request.whole._value is None
        assert (request_without.raw, request_without.value, request_without.outline.keys()) == (expected_without.raw, expected_without.value, expected_without.outline.keys())  # fmt: skip
        assert (request.prompt, request.value) == (expected.prompt, expected.value)


def test_tools_offered_in_the_input_are_compared_with_all_cached_tools() -> None:
    """A tool that is offered again, with a long known part, is offered once."""
    again = jsonio.loads(codex(""))["tools"][:2]
    more = {"type": "additional_tools", "role": "developer", "tools": [*again, {"type": "x"}]}
    for at in range(4):
        raw = codex(f"words {at}")
        assert (OPENAI_RESPONSES.read(raw).whole is not None) == (at > 1)
    raw = codex("more", more)
    request = OPENAI_RESPONSES.read(raw)
    assert request.whole is not None
    assert request.prompt == read_uncached(raw, OPENAI_RESPONSES).prompt
    assert len(request.prompt.tools) == len(set(request.prompt.tools)) == 24
    bare = OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": [more]}))
    assert bare.prompt.tools == ("f0", "f1", "x")


def test_the_native_path_never_parses_the_cached_tools() -> None:
    """The native path never parses the large known member."""
    messages: Any = [{"name": "g", "input_schema": SCHEMA, "description": "d" * 5_000}]
    rows = [(OPENAI_CHAT, body(tools())), (ANTHROPIC_MESSAGES, body(messages, max_tokens=9))]
    for dialect, raw in rows:
        request = [dialect.read(raw) for _ in range(3)][-1]
        dialect.write(request, TARGET)
        dialect.read_start(request)
        dialect.asks_usage(request)
        assert request.whole is not None
        assert request.whole._value is None


def test_tools_are_cached_from_their_second_appearance_on() -> None:
    raw = body(tools())
    assert [OPENAI_CHAT.read(raw).whole is not None for _ in range(4)] == [0, 0, 1, 1]
    assert OPENAI_CHAT.read(body(tools(name="g"))).whole is None


@pytest.mark.parametrize("size", [1, 3])
def test_short_tools_are_never_cached(size: int) -> None:
    raw = body(tools(size, description="", parameters={}), "x" * 5_000)
    assert all(OPENAI_CHAT.read(raw).whole is None for _ in range(4))


def test_a_name_too_long_for_the_cache_keeps_its_full_length() -> None:
    raw = body(tools(20, "n" * 500))
    for _ in range(4):
        assert OPENAI_CHAT.read(raw).prompt.tools[0] == "n" * 500 + "0"


@pytest.mark.parametrize("bad", [b'{"a":"\xff"}', b'"\\ud800"', b"1e999", b"NaN", b"[1,]"])
def test_invalid_json_is_refused_in_the_same_words_with_cached_tools(bad: bytes) -> None:
    raw = body(tools())
    for _ in range(3):
        OPENAI_CHAT.read(raw)
    wrong = raw[:-1] + b',"x":' + bad + b"}"
    with pytest.raises(ProblemError) as expected:
        read_uncached(wrong)
    with pytest.raises(ProblemError) as caught:
        OPENAI_CHAT.read(wrong)
    assert caught.value.problem == expected.value.problem


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(ProblemError, match="must be a JSON object"):
        OPENAI_CHAT.read(b"[" + b"1," * 3_000 + b"1]")


def test_the_tool_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "_MAX_CACHE_BYTES", 30_000)
    monkeypatch.setattr(parse, "_MAX_SEEN_HASHES", 3)
    for at in range(20):
        raw = body(tools(name=f"n{at}"))
        for _ in range(3):
            OPENAI_CHAT.read(raw)
        assert sum(map(len, parse._outline_cache._outlines)) <= 30_000
        assert parse._outline_cache.size <= 30_000
        assert len(parse._outline_cache._seen_hashes) <= 3


def test_the_last_of_two_equal_names_counts() -> None:
    """A repeated name has its last value, as in any JSON reader, and goes on once.

    The first value may be no JSON, so the body is read in full, although its tools are known.
    """
    raw = body(tools())
    for _ in range(3):
        OPENAI_CHAT.read(raw)
    twice = raw[:-1] + b',"model":"other"}'
    request = OPENAI_CHAT.read(twice)
    assert request.whole is None
    assert request.prompt.model == request.value["model"] == "other"
    assert request.value is request.value  # read once


def test_a_body_with_known_tools_is_read_in_full_once() -> None:
    raw = body(tools())
    for _ in range(2):
        OPENAI_CHAT.read(raw)
    request = OPENAI_CHAT.read(raw)
    assert request.whole is not None
    assert request.value is request.value
