"""Whole answers of Converse as events; what is no answer is a Failed."""

import json

import pytest

from gateway.core.events import (
    AnswerMetadata,
    Citation,
    End,
    Event,
    Failed,
    Finish,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.usage import Usage
from gateway.dialects.bedrock_converse import TRANSLATION
from tests.dialects.bedrock_converse.frames import Object, whole

decode = TRANSLATION.decode_response


def test_blocks_become_events_in_their_order() -> None:
    body = whole(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"text": "Hi"},
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"b": 1}}},
        {"toolUse": {"toolUseId": "b", "name": "g", "input": {}}},
        reason="tool_use",
    )
    assert decode(body) == [
        Start(),
        ReasoningDelta("hm"), ReasoningEnd("c2ln"), ReasoningEnd("AAEC", redacted=True),
        TextDelta("Hi"),
        ToolStart(0, "a", "f"), ToolDelta(0, '{"b":1}'), ToolEnd(0),
        ToolStart(1, "b", "g"), ToolDelta(1, "{}"), ToolEnd(1),
        UsageUpdate(Usage(input=7, output=3)), Finish("tools", "tool_use"), End(),
    ]  # fmt: skip


def test_citations_and_other_blocks() -> None:
    cited = {"title": "t", "source": "s"}
    events = decode(
        whole(
            {"citationsContent": {"content": [{"text": "So"}, 1], "citations": [cited]}},
            {"toolResult": {"toolUseId": "a", "content": []}},
            {"toolUse": {"toolUseId": "a", "name": "f", "type": "server_tool_use"}},
            {"citationsContent": {}},
            "odd",  # type: ignore[arg-type]  # no block
        )
    )
    assert events[1:5] == [
        TextDelta("So"),
        Citation("s", "t", 0, 2, cited, name="content.citations"),
        Opaque("content.toolResult", {"toolUseId": "a", "content": []}),
        Opaque(
            "content.server_tool_use",
            {"toolUseId": "a", "name": "f", "type": "server_tool_use"},
        ),
    ]


def test_unknown_members_are_named() -> None:
    body = whole(
        {"citationsContent": {"citations": [{"location": {"documentChar": {"start": 1}}}]}},
        {"newBlock": {"a": 1}},
        additionalModelResponseFields={"a": 1},
        trace={"guardrail": {}},
    )
    names = [event.name for event in decode(body) if isinstance(event, AnswerMetadata)]
    assert names == [
        "content.citations.location.documentChar",
        "content.newBlock",
        "additionalModelResponseFields",
    ]


def test_an_answer_without_content_is_one_if_it_gives_a_reason() -> None:
    assert decode(whole())[-2:] == [Finish("stop", "end_turn"), End()]
    (failed,) = decode(whole(reason=None))
    assert isinstance(failed, Failed)
    assert failed.problem.kind == "upstream_truncated"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "upstream_error"),
        (b"[]", "upstream_error"),
        (b"{}", "upstream_error"),
        (b'{"output":{"message":{}}}', "upstream_error"),
        (b'{"output":5}', "upstream_error"),
        (b'{"message":"No."}', "upstream_error"),
        (b'{"__type":"ThrottlingException"}', "upstream_rate_limited"),
        (b'{"__type":"ValidationException","message":"No."}', "upstream_rejected"),
    ],
)
def test_what_is_no_answer_has_failed(body: bytes, kind: str) -> None:
    events: list[Event] = decode(body)
    assert [event.problem.kind for event in events if isinstance(event, Failed)] == [kind]
    assert len(events) == 1


def test_usage_is_optional() -> None:
    value: Object = json.loads(whole({"text": "a"}))
    del value["usage"]
    events = decode(json.dumps(value).encode())
    assert not any(isinstance(event, UsageUpdate) for event in events)
    assert events[-1] == End()
