"""A body with a long member that the gateway already knows reads the same as any other."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, parse
from gateway.dialects.base import Dialect, LazyObject, RequestBody
from tests.routing import world

TARGET = world.LITE
SCHEMA = {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(9)}}


def tools(count: int = 30, name: str = "f", **more: Any) -> list[Any]:
    inner = {"description": "d" * 300, "parameters": SCHEMA, **more}
    return [
        {"type": "function", "function": {"name": f"{name}{at}", **inner}} for at in range(count)
    ]


def body(offered: Any, text: str = "hi", **more: Any) -> bytes:
    said = [{"role": "user", "content": text}]
    return jsonio.dumps({"model": "m", "messages": said, "tools": offered, **more})


def whole(raw: bytes, dialect: Dialect = OPENAI_CHAT) -> RequestBody:
    """Read a body with an empty cache of known members."""
    known, parse._outline_cache = parse._outline_cache, parse._OutlineCache()
    try:
        return dialect.read(raw)
    finally:
        parse._outline_cache = known


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_it_says_the_same_every_time(offered: Any) -> None:
    """The prompt is the same the first time, the second, once the member is known, and later."""
    for at in range(4):
        raw = body(offered, f"words {at}", tool_choice="required")
        found, expected = OPENAI_CHAT.read(raw), whole(raw)
        assert found.prompt == expected.prompt
        assert found.value == expected.value
        assert found.members.keys() == expected.members.keys()
        assert found.raw is raw
        outer = {name: one for name, one in expected.value.items() if name != "tools"}
        assert {name: one for name, one in found.outline.items() if name != "tools"} == outer


def test_claude_code_sends_the_same_tools_again_and_again() -> None:
    """Messages requests with thinking, a cap and a session work in the same way."""
    offered = [{"name": f"t{at}", "description": "d" * 300, "input_schema": SCHEMA} for at in range(30)]  # fmt: skip
    offered += [{"type": "web_search_20260209", "name": "web_search"}]
    for at in range(4):
        raw = body(
            offered, f"words {at}", max_tokens=9, thinking={"type": "adaptive"},
            metadata={"user_id": "u_session_1"}, system=[{"type": "text", "text": "s"}],
        )  # fmt: skip
        found = ANTHROPIC_MESSAGES.read(raw)
        assert isinstance(found.parsed, LazyObject) == (at > 1)
        expected = whole(raw, ANTHROPIC_MESSAGES)
        assert (found.prompt, found.value) == (expected.prompt, expected.value)
        assert found.prompt.hosted_tools
        assert ANTHROPIC_MESSAGES.read_start(found) == ANTHROPIC_MESSAGES.read_start(expected)
        assert ANTHROPIC_MESSAGES.write(found, TARGET) == ANTHROPIC_MESSAGES.write(expected, TARGET)


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
    asked = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    said = {"model": "m", "instructions": "Be kind.", "input": [*before, asked], "tools": offered}
    return jsonio.dumps({**said, "store": False, "reasoning": {"effort": "low"}, **more})


def test_codex_sends_the_same_tools_again_and_again() -> None:
    for at in range(4):
        raw = codex(f"words {at}", max_output_tokens=9)
        found, expected = OPENAI_RESPONSES.read(raw), whole(raw, OPENAI_RESPONSES)
        assert isinstance(found.parsed, LazyObject) == (at > 1)
        assert OPENAI_RESPONSES.read_start(found) == OPENAI_RESPONSES.read_start(expected)
        assert OPENAI_RESPONSES.write(found, TARGET) == OPENAI_RESPONSES.write(expected, TARGET)
        less, those = found.without_member("store"), expected.without_member("store")
        assert isinstance(less.parsed, LazyObject) == (at > 1)
        assert not isinstance(found.parsed, LazyObject) or found.parsed._value is None
        assert (less.raw, less.value, less.outline.keys()) == (those.raw, those.value, those.outline.keys())  # fmt: skip
        assert (found.prompt, found.value) == (expected.prompt, expected.value)


def test_tools_that_the_input_offers_are_compared_with_all_of_those_that_are_known() -> None:
    """A tool that is offered again, with a long known part, is offered once."""
    again = jsonio.loads(codex(""))["tools"][:2]
    more = {"type": "additional_tools", "role": "developer", "tools": [*again, {"type": "x"}]}
    for at in range(4):
        raw = codex(f"words {at}")
        assert isinstance(OPENAI_RESPONSES.read(raw).parsed, LazyObject) == (at > 1)
    raw = codex("more", more)
    found = OPENAI_RESPONSES.read(raw)
    assert isinstance(found.parsed, LazyObject)
    assert found.prompt == whole(raw, OPENAI_RESPONSES).prompt
    assert len(found.prompt.tools) == len(set(found.prompt.tools)) == 24
    bare = OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": [more]}))
    assert bare.prompt.tools == ("f0", "f1", "x")


def test_nothing_at_home_asks_for_what_is_known() -> None:
    """The native path never parses the large known member."""
    messages: Any = [{"name": "g", "input_schema": SCHEMA, "description": "d" * 5_000}]
    rows = [(OPENAI_CHAT, body(tools())), (ANTHROPIC_MESSAGES, body(messages, max_tokens=9))]
    for dialect, raw in rows:
        found = [dialect.read(raw) for _ in range(3)][-1]
        dialect.write(found, TARGET)
        dialect.read_start(found)
        dialect.asks_usage(found)
        assert isinstance(found.parsed, LazyObject)
        assert found.parsed._value is None


def test_it_is_known_from_the_second_time_on() -> None:
    raw = body(tools())
    assert [isinstance(OPENAI_CHAT.read(raw).parsed, LazyObject) for _ in range(4)] == [0, 0, 1, 1]
    assert not isinstance(OPENAI_CHAT.read(body(tools(name="g"))).parsed, LazyObject)


@pytest.mark.parametrize("size", [1, 3])
def test_short_tools_are_read_as_they_come(size: int) -> None:
    raw = body(tools(size, description="", parameters={}), "x" * 5_000)
    assert not any(isinstance(OPENAI_CHAT.read(raw).parsed, LazyObject) for _ in range(4))


def test_a_name_too_long_for_an_outline_is_never_told_short() -> None:
    raw = body(tools(20, "n" * 500))
    for _ in range(4):
        assert OPENAI_CHAT.read(raw).prompt.tools[0] == "n" * 500 + "0"


@pytest.mark.parametrize("bad", [b'{"a":"\xff"}', b'"\\ud800"', b"1e999", b"NaN", b"[1,]"])
def test_what_is_no_json_is_refused_in_the_same_words(bad: bytes) -> None:
    raw = body(tools())
    for _ in range(3):
        OPENAI_CHAT.read(raw)
    wrong = raw[:-1] + b',"x":' + bad + b"}"
    with pytest.raises(ProblemError) as expected:
        whole(wrong)
    with pytest.raises(ProblemError) as found:
        OPENAI_CHAT.read(wrong)
    assert found.value.problem == expected.value.problem


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ProblemError, match="must be a JSON object"):
        OPENAI_CHAT.read(b"[" + b"1," * 3_000 + b"1]")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "_MAX_CACHE_BYTES", 30_000)
    monkeypatch.setattr(parse, "_MAX_SEEN_HASHES", 3)
    for at in range(20):
        raw = body(tools(name=f"n{at}"))
        for _ in range(3):
            OPENAI_CHAT.read(raw)
        assert sum(map(len, parse._outline_cache._outlines)) <= 30_000
        assert parse._outline_cache.size <= 30_000
        assert len(parse._outline_cache._seen_hashes) <= 3


def test_the_last_of_two_members_counts() -> None:
    """A repeated name has its last value, as in any JSON reader, and goes on once."""
    raw = body(tools())
    for _ in range(3):
        OPENAI_CHAT.read(raw)
    twice = raw[:-1] + b',"model":"other"}'
    found = OPENAI_CHAT.read(twice)
    assert isinstance(found.parsed, LazyObject)
    assert found.prompt.model == found.value["model"] == "other"
    assert found.value is found.value  # read once
