"""Calls that a provider has run itself never reach the client as calls of its own tools."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import CanonicalRequest, Tool
from gateway.core.events import Event, Finish, TextDelta, ToolDelta, ToolEnd, ToolStart
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    ResponseContext,
    TranslatableRequest,
    Translation,
)
from gateway.dialects.tool_call_filter import ToolCallFilter, filter_events
from tests.dialects.cases import Object, chunk, sse

NAMES = "output.function_call", "output.custom_tool_call"
CONTEXT = ResponseContext(id="call-1", created_at=1, model="m-1")
TEXT = TextDelta("so")


def call(index: int, name: str, *, custom: bool = False, choice: int = 0) -> list[Event]:
    return [
        ToolStart(index, f"c{index}", name, custom, choice),
        ToolDelta(index, "{}", choice),
        ToolEnd(index, choice=choice),
    ]


def filter_calls(
    *events: Event, tools: str = "fg", takes_one_tool: bool = False
) -> tuple[list[Event], list[str]]:
    """Return the events that the client gets, and the names of the others."""
    request = CanonicalRequest(turns=(), tools=tuple(Tool(name=name) for name in tools))
    dropped: dict[str, None] = {}
    calls = ToolCallFilter(request, NAMES, dropped, takes_one_tool=takes_one_tool)
    return filter_events(events, calls), [*dropped]


def test_a_call_that_text_follows_belongs_to_the_provider() -> None:
    """On Responses, xAI shows its searches in this way, and calls the answer completed."""
    end = Finish("tools", "completed")
    search = call(0, "x_keyword_search", custom=True)
    assert filter_calls(*search, TEXT, end) == ([TEXT, Finish("stop", "completed")], [NAMES[1]])
    own = call(1, "f")
    assert filter_calls(*search, *own, TEXT, end) == ([*own, TEXT, end], [NAMES[1]])
    assert filter_calls(*call(0, "web"), TEXT, end)[1] == [NAMES[0]]


def test_an_unknown_call_at_the_end_reaches_the_client() -> None:
    """Clients answer a call of a tool that they do not have. Without it the answer is empty."""
    made_up = call(0, "h")
    for events in ([*made_up, Finish("tools", "completed")], [TEXT, *made_up, Finish("tools", "STOP")]):  # fmt: skip
        assert filter_calls(*events) == (events, [])
    assert filter_calls(*made_up, TEXT, Finish("tools", "tool_calls")) == (
        [TEXT, *made_up, Finish("tools", "tool_calls")], [],
    )  # fmt: skip


@pytest.mark.parametrize("word", ["stop", "end_turn"])
def test_a_plain_stop_marks_the_calls_as_the_providers(word: str) -> None:
    """Whole answers of Chat Completions have all text before the calls."""
    assert filter_calls(TEXT, *call(0, "h"), Finish("tools", word)) == (
        [TEXT, Finish("stop", word)],
        [NAMES[0]],
    )
    alone = [*call(0, "h"), Finish("tools", word)]
    assert filter_calls(*alone) == (alone, [])


def test_each_choice_is_filtered_by_its_own_end() -> None:
    ends = Finish("tools", "completed"), Finish("tools", "completed", choice=1)
    first, other = call(0, "h"), call(0, "h", choice=1)
    assert filter_calls(*first, TEXT, *other, *ends)[0] == [TEXT, Finish("stop", "completed"), *other, ends[1]]  # fmt: skip


def test_a_client_that_takes_one_tool_gets_the_first_of_its_own() -> None:
    end = Finish("tools", "completed")
    events = [*call(0, "web"), *call(1, "f"), *call(2, "g"), TEXT, end]
    assert filter_calls(*events, takes_one_tool=True) == ([*call(1, "f"), TEXT, end], [NAMES[0]])
    late = [*call(0, "h"), *call(1, "f"), end]
    assert filter_calls(*late, takes_one_tool=True)[0] == [*call(1, "f"), end]


def test_a_providers_call_of_chat_is_hidden_and_named_whole_and_streamed() -> None:
    """The host of Chat Completions runs a search of its own for a Messages client."""
    body = ANTHROPIC_MESSAGES.read(
        json.dumps({
            "model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "f", "input_schema": {}}],
        }).encode()
    )  # fmt: skip
    request = TranslatableRequest(ANTHROPIC_MESSAGES, body).request
    inner = {"index": 0, "id": "c", "type": "function", "function": {"name": "x_search", "arguments": "{}"}}  # fmt: skip
    message = {"role": "assistant", "content": "found", "tool_calls": [inner]}
    whole = {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    translation = Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, request, CONTEXT)
    answer: Any = json.loads(translation.summarize(json.dumps(whole).encode()).body or b"")
    assert (answer["content"], answer["stop_reason"]) == ([{"type": "text", "text": "found"}], "end_turn")  # fmt: skip
    assert [*translation.dropped_names] == ["message.tool_calls"]
    streaming = Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, request, CONTEXT)
    inspector = streaming.inspect_stream(body)
    stream = sse(chunk({"tool_calls": [inner]}), chunk({"content": "found"}), chunk(finish="stop"))
    frames = inspector.feed(stream) + inspector.end()
    assert b"tool_use" not in frames
    assert frames.endswith(b": tiergate dropped: message.tool_calls\n\n")
    assert (inspector.complete, inspector.content_bytes) == (True, len("x_search{}found"))


def test_a_providers_call_of_responses_is_hidden_and_named() -> None:
    value: Object = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    body = OPENAI_CHAT.read(json.dumps(value).encode())
    request = TranslatableRequest(OPENAI_CHAT, body).request
    output = [
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "xs_call", "name": "x_keyword_search", "input": "{}", "status": "completed"},
        {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "found"}]},
    ]  # fmt: skip
    answer = {"id": "resp_1", "status": "completed", "output": output}
    translation = Translation(OPENAI_CHAT, OPENAI_RESPONSES, request, CONTEXT)
    [choice] = json.loads(translation.summarize(json.dumps(answer).encode()).body or b"")["choices"]
    assert choice["message"] == {"role": "assistant", "content": "found"}
    assert choice["finish_reason"] == "stop"
    assert [*translation.dropped_names] == ["output.custom_tool_call"]
