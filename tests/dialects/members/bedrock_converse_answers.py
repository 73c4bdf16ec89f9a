"""Answers of Converse, whole and streamed, that together have every member of the list."""

import json

from tests.dialects.bedrock_converse import frames
from tests.dialects.members.answer_samples import AnswerSamples
from tests.dialects.request_strategies import PNG, Object

_COUNTS: Object = {
    "inputTokens": 900, "outputTokens": 90, "totalTokens": 1020,
    "cacheReadInputTokens": 10, "cacheReadInputTokenCount": 10,
    "cacheWriteInputTokens": 20, "cacheWriteInputTokenCount": 20,
    "cacheDetails": [{"ttl": "5m", "inputTokens": 15}],
    "serverToolUsage": {"webSearchRequests": 1},
}  # fmt: skip
_CALL: Object = {"toolUseId": "1", "name": "find", "input": {"a": "b"}}
_HOSTED_CALL: Object = {"toolUseId": "2", "name": "nova_grounding", "type": "server_tool_use"}
_CITATION: Object = {
    "title": "A",
    "source": "https://s.test",
    "sourceContent": [{"text": "a"}],
    "location": {
        "web": {"url": "https://a.test", "domain": "a.test"},
        "documentChar": {"documentIndex": 1, "start": 1, "end": 3},
        "documentPage": {"documentIndex": 1, "start": 1, "end": 3},
        "documentChunk": {"documentIndex": 1, "start": 1, "end": 3},
        "searchResultLocation": {"searchResultIndex": 1, "start": 1, "end": 3},
    },
}
_SOURCE_ALONE: Object = {"title": "B", "source": "https://b.test"}
_IMAGE: Object = {"format": "png", "source": {"bytes": PNG}}
_RESULT: Object = {"toolUseId": "2", "content": [{"text": "b"}]}
_OPAQUE_BLOCKS: tuple[Object, ...] = (
    {"image": _IMAGE},
    {"document": {"format": "txt", "name": "a", "source": {"text": "a"}}},
    {"video": {"format": "mp4", "source": {"bytes": PNG}}},
    {"audio": {"format": "mp3", "source": {"bytes": PNG}}},
    {"toolResult": _RESULT},
    {"guardContent": {"text": {"text": "a"}}},
    {"searchResult": {"source": "https://a.test", "title": "A", "content": [{"text": "a"}]}},
    {"toolAddition": {"toolName": "a"}},
    {"toolRemoval": {"toolName": "a"}},
)
_TOTALS: Object = {
    "usage": _COUNTS,
    "metrics": {"latencyMs": 7},
    "trace": {"promptRouter": {"invokedModelId": "a"}},
    "performanceConfig": {"latency": "optimized"},
}
_FIELDS: Object = {"additionalModelResponseFields": {"a": "b"}}


def _answer(*blocks: Object, **members: object) -> Object:
    message = {"role": "assistant", "content": [*blocks]}
    return {"output": {"message": message}, "stopReason": "end_turn", **_TOTALS, **members}


def _event(kind: str, /, **members: object) -> Object:
    """Return an event; its type stands in a header, and here in the object."""
    return {"type": kind, "p": "abc", **members}


def _start(index: int, start: Object) -> Object:
    return _event("contentBlockStart", contentBlockIndex=index, start=start)


def _delta(index: int, delta: Object) -> Object:
    return _event("contentBlockDelta", contentBlockIndex=index, delta=delta)


def _stop(index: int) -> Object:
    return _event("contentBlockStop", contentBlockIndex=index)


def _write_frame(event: Object) -> bytes:
    payload = {name: value for name, value in event.items() if name != "type"}
    return frames.write_event(str(event["type"]), json.dumps(payload).encode())


_BEGIN: Object = _event("messageStart", role="assistant")
_END: tuple[Object, ...] = (
    _event("messageStop", stopReason="end_turn", **_FIELDS),
    _event("metadata", **_TOTALS),
)

SAMPLES = AnswerSamples(
    answers=(
        _answer(
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": "AAEC"}},
            {"text": "hello"},
            {"citationsContent": {"content": [{"text": "so"}], "citations": [_CITATION]}},
            {"citationsContent": {"content": [{"text": "so"}], "citations": [_SOURCE_ALONE]}},
            {"toolUse": _CALL},
            {"toolUse": _HOSTED_CALL},
            *_OPAQUE_BLOCKS,
            **_FIELDS,
        ),
        _answer({"text": "hello"}, serviceTier={"type": "flex"}, performanceConfig={}),
    ),
    streams=(
        (
            _BEGIN,
            _delta(0, {"reasoningContent": {"text": "hm"}}),
            _delta(0, {"reasoningContent": {"signature": "c2ln"}}),
            _stop(0),
            _delta(1, {"reasoningContent": {"redactedContent": "AAEC"}}),
            _stop(1),
            _delta(2, {"text": "hello"}),
            _delta(2, {"citation": _CITATION}),
            _stop(2),
            _delta(3, {"text": "so"}),
            _delta(3, {"citation": _SOURCE_ALONE}),
            _stop(3),
            _start(4, {"toolUse": {"toolUseId": "1", "name": "find"}}),
            _delta(4, {"toolUse": {"input": '{"a":"b"}'}}),
            _stop(4),
            *_END,
        ),
        (
            _BEGIN,
            _start(0, {"toolUse": _HOSTED_CALL}),
            _delta(0, {"toolUse": {"input": "{}"}}),
            _stop(0),
            _start(1, {"toolResult": {"toolUseId": "2"}}),
            _delta(1, {"toolResult": [{"text": "b"}]}),
            _stop(1),
            _start(2, {"image": {"format": "png"}}),
            _delta(2, {"image": {"source": {"bytes": PNG}}}),
            _stop(2),
            _delta(3, {"image": {"source": {"bytes": PNG}}}),
            _delta(4, {"toolResult": [{"text": "b"}]}),
            _delta(5, {"text": "so"}),
            _event("messageStop", stopReason="end_turn"),
            _event("metadata", usage=_COUNTS, serviceTier={"type": "flex"}),
        ),
    ),
    stream_end=b"",
    write_frame=_write_frame,
)
