"""Namespaces of tools: translation gives each tool one name, and its calls come back with both."""

import json

import pytest

from gateway.core import events as e
from gateway.core.canonical_request import Tool, ToolUse
from gateway.dialects import compatibility
from gateway.dialects.openai_responses import TRANSLATION
from gateway.dialects.openai_responses.tools import list_offered_tools, write_tool_name
from tests.dialects.openai_responses.cases import Object, ask, decoded, make_context, read

CLOSE = {"type": "function", "name": "close", "description": "Closes.", "strict": False, "parameters": {}}  # fmt: skip
OPEN = {"type": "function", "name": "open"}
PLAIN = {"type": "function", "name": "close"}
AGENTS = {"type": "namespace", "name": "agents", "description": "Of agents.", "tools": [CLOSE, OPEN, "odd"]}  # fmt: skip


def test_each_tool_of_a_namespace_becomes_a_tool_of_its_own() -> None:
    """Each tool gets the description of its namespace; nothing is lost."""
    request = decoded(tools=[AGENTS, PLAIN])
    assert [(tool.name, tool.kind, tool.description) for tool in request.tools] == [
        ("agents__close", "function", "Of agents.\n\nCloses."),
        ("agents__open", "function", "Of agents."),
        ("close", "function", None),
    ]
    assert request.tools[0].source == {**CLOSE, "description": "Of agents.\n\nCloses.", "namespace": "agents"}  # fmt: skip
    for dialect in ("openai-chat", "anthropic-messages", "gemini"):
        assert compatibility.check_request(request, dialect) == ([], [])


@pytest.mark.parametrize("tools", [[], None, {}])
def test_an_empty_namespace_is_a_tool_of_the_provider(tools: object) -> None:
    request = decoded(tools=[{"type": "namespace", "name": "n", "tools": tools}])
    assert [(tool.name, tool.kind) for tool in request.tools] == [("n", "hosted")]


def test_an_earlier_call_has_the_translated_name_of_its_tool() -> None:
    """Namespaces of MCP servers end in the separator."""
    call = {"type": "function_call", "call_id": "c", "arguments": "{}", "name": "close"}
    items = [{**call, "namespace": namespace} for namespace in ("agents", "mcp__files__", None, "")]
    (turn,) = decoded(input=items).turns
    names = [part.name for part in turn.parts if isinstance(part, ToolUse)]
    assert names == ["agents__close", "mcp__files__close", "close", "close"]


@pytest.mark.parametrize(
    ("choice", "name", "allowed"),
    [
        ({"type": "function", "name": "close", "namespace": "agents"}, "agents__close", ()),
        ({"type": "allowed_tools", "tools": [{"type": "namespace", "name": "agents"}, PLAIN]}, None, ("agents__close", "agents__open", "close")),
        ({"type": "allowed_tools", "tools": [{"type": "namespace", "name": "other"}]}, None, ("other",)),
    ],
)  # fmt: skip
def test_a_tool_choice_may_name_a_namespace(
    choice: Object, name: str | None, allowed: tuple[str, ...]
) -> None:
    chosen = decoded(tools=[AGENTS, PLAIN], tool_choice=choice).tool_choice
    assert chosen is not None
    assert (chosen.name, chosen.allowed) == (name, allowed)


def test_a_call_returns_with_its_name_and_namespace() -> None:
    request = decoded(tools=[AGENTS, PLAIN])
    encoder = TRANSLATION.make_encoder(make_context(request))
    events: list[e.Event] = [
        e.ToolStart(0, "c0", "agents__close"), e.ToolEnd(0),
        e.ToolStart(1, "c1", "close"), e.ToolEnd(1), e.Finish("tools"), e.End(),
    ]  # fmt: skip
    frames = read(b"".join(encoder.write(event) for event in events))
    added = [frame["item"] for frame in frames if frame["type"] == "response.output_item.added"]
    assert [(call["name"], call.get("namespace")) for call in added] == [("close", "agents"), ("close", None)]  # fmt: skip
    assert [call.get("namespace") for call in frames[-1]["response"]["output"]] == ["agents", None]


def test_tools_offered_in_the_input_are_tools_of_the_request() -> None:
    """Codex offers all of its tools in this way; a tool that is offered twice is one tool."""
    user = {"role": "user", "content": "hi"}
    more = {"type": "additional_tools", "role": "developer", "tools": [AGENTS]}
    items = [more, user, {**more, "tools": [AGENTS, PLAIN]}, {**more, "tools": "odd"}, "odd"]
    for tools in ([PLAIN], ..., "odd"):
        body = ask(input=items[:-1], tools=tools)
        request = TRANSLATION.decode_request(body)
        assert {tool.name for tool in request.tools} == {"agents__close", "agents__open", "close"}
        assert len(request.tools) == 3
        assert [turn.role for turn in request.turns] == ["user"]
        assert set(body.prompt.tools) == {"agents", "close"}
        assert not body.prompt.hosted_tools
    assert ask(input=[more]).prompt.chars > len(json.dumps([AGENTS])) * 0.9
    assert ask(input=[user]).prompt.chars == 2
    assert list_offered_tools({"input": items[-1:]}) == []


def test_a_call_of_a_custom_tool_returns_with_its_name_and_namespace() -> None:
    run = {"type": "custom", "name": "exec", "description": "Runs."}
    request = decoded(input=[{"type": "additional_tools", "tools": [{**AGENTS, "tools": [run]}]}])
    encoder = TRANSLATION.make_encoder(
        make_context(request, custom_tool_names=frozenset({"agents__exec"}))
    )
    events: list[e.Event] = [
        e.ToolStart(0, "c0", "agents__exec"),
        e.ToolDelta(0, '{"input":"x"}'),
        e.ToolEnd(0),
    ]
    item = read(b"".join(encoder.write(event) for event in events))[-1]["item"]
    assert (item["type"], item["input"]) == ("custom_tool_call", "x")
    assert (item["name"], item["namespace"]) == ("exec", "agents")


def test_a_tool_without_a_source_has_no_namespace() -> None:
    assert write_tool_name("f", [Tool(name="f")]) == {"name": "f"}
