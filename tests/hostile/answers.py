"""Odd answers of providers in each dialect, whole and streamed, with most members that exist."""

import random
from typing import Any

from gateway.core import jsonio
from tests.e2e.upstream import DONE, SSE, Answer
from tests.hostile import odd

type Json = dict[str, Any]

_CALL: Json = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a":1}'},
}
_CHAT_USAGE: Json = {
    "prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "accepted_prediction_tokens": 0},
}  # fmt: skip
_LOGPROB: Json = {
    "token": "Hi",
    "bytes": [72, 105],
    "logprob": -0.1,
    "top_logprobs": [{"token": "Hi", "bytes": None, "logprob": -0.1}],
}
_CHAT: Json = {
    "id": "c-1",
    "created": 1,
    "model": "served",
    "service_tier": "default",
    "system_fingerprint": "x",
}


def _chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish,
        "logprobs": {"content": [_LOGPROB]},
    }
    return {**_CHAT, "object": "chat.completion.chunk", "choices": [choice], **more}


_ITEMS: list[Json] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Thought."}], "encrypted_content": "e", "status": "completed"},
    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Hi.", "annotations": [{"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}], "logprobs": [_LOGPROB]},
        {"type": "refusal", "refusal": "No."},
    ]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}', "status": "completed"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "a"}},
    {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_2", "name": "g", "input": "x"},
]  # fmt: skip
_RESPONSE: Json = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "served", "output": _ITEMS, "error": None,
    "incomplete_details": None, "service_tier": "default", "usage": {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 16,
    },
}  # fmt: skip
_SOURCE: Json = {
    "type": "web_search_result_location",
    "url": "https://a.example",
    "title": "A",
    "cited_text": "a",
    "encrypted_index": "e",
}
_BLOCKS: list[Json] = [
    {"type": "thinking", "thinking": "Thought.", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
    {"type": "text", "text": "Hi.", "citations": [_SOURCE]}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "a"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e", "page_age": None}]},
]  # fmt: skip
_MESSAGE_USAGE: Json = {
    "input_tokens": 9, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 7, "service_tier": "standard",
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 0}, "server_tool_use": {"web_search_requests": 1},
}  # fmt: skip
_MESSAGE: Json = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "served", "content": _BLOCKS, "stop_reason": "tool_use",
    "stop_sequence": None, "usage": _MESSAGE_USAGE, "container": None,
}  # fmt: skip
_CANDIDATE: Json = {
    "content": {"role": "model", "parts": [
        {"text": "Thought.", "thought": True, "thoughtSignature": "cw=="}, {"text": "Hi."},
        {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "cw=="},
        {"executableCode": {"language": "PYTHON", "code": "1"}}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]},
    "finishReason": "STOP", "index": 0, "safetyRatings": [{"category": "x", "probability": "LOW"}], "avgLogprobs": -0.1,
    "logprobsResult": {"topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.1}]}], "chosenCandidates": [{"token": "Hi", "logProbability": -0.1}]},
    "citationMetadata": {"citationSources": [{"startIndex": 0, "endIndex": 2, "uri": "https://a.example"}]},
    "groundingMetadata": {"webSearchQueries": ["a"], "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}], "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 2}, "groundingChunkIndices": [0]}]},
}  # fmt: skip
_USAGE: Json = {
    "promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "cachedContentTokenCount": 2, "totalTokenCount": 16,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
}  # fmt: skip
_GEMINI: Json = {
    "candidates": [_CANDIDATE],
    "usageMetadata": _USAGE,
    "modelVersion": "served",
    "responseId": "g-1",
}

WHOLE: dict[str, Json] = {
    "able-1": {**_CHAT, "object": "chat.completion", "usage": _CHAT_USAGE, "choices": [{
        "index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [_LOGPROB], "refusal": None}, "message": {
            "role": "assistant", "content": "Hi.", "refusal": None, "reasoning_content": "Thought.", "tool_calls": [_CALL],
            "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}}],
        },
    }]},
    "claude-haiku-9": _MESSAGE, "reply-9": _RESPONSE, "gem-9": _GEMINI,
}  # fmt: skip


def _message_events() -> list[Json]:
    """Return the events of a Messages stream."""
    events: list[Json] = [
        {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None}},
        {"type": "ping"},
    ]
    for at, block in enumerate(_BLOCKS):
        grown: dict[str, list[Json]] = {
            "thinking": [{"type": "thinking_delta", "thinking": "Thought."}, {"type": "signature_delta", "signature": "s"}],
            "text": [{"type": "text_delta", "text": "Hi."}, {"type": "citations_delta", "citation": _SOURCE}],
            "tool_use": [{"type": "input_json_delta", "partial_json": '{"a":'}, {"type": "input_json_delta", "partial_json": "1}"}],
        }  # fmt: skip
        events.append({"type": "content_block_start", "index": at, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": at, "delta": delta}
            for delta in grown.get(str(block["type"]), [])
        ]
        events.append({"type": "content_block_stop", "index": at})
    events.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": _MESSAGE_USAGE,
        }
    )
    return [*events, {"type": "message_stop"}]


def _response_events() -> list[Json]:
    """Return the events of a Responses stream."""
    begun = {**_RESPONSE, "status": "in_progress", "output": [], "usage": None}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for at, item in enumerate(_ITEMS):
        place = {"output_index": at, "item_id": item["id"]}
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": at,
                "item": {**item, "status": "in_progress"},
            }
        )
        if item["type"] == "message":
            part = {"type": "output_text", "text": "", "annotations": []}
            events += [
                {"type": "response.content_part.added", **place, "content_index": 0, "part": part},
                {"type": "response.output_text.delta", **place, "content_index": 0, "delta": "Hi.", "logprobs": [_LOGPROB]},
                {"type": "response.output_text.annotation.added", **place, "content_index": 0, "annotation_index": 0, "annotation": {"type": "url_citation", "url": "u"}},
                {"type": "response.output_text.done", **place, "content_index": 0, "text": "Hi."},
                {"type": "response.refusal.delta", **place, "content_index": 1, "delta": "No."},
            ]  # fmt: skip
        elif item["type"] == "function_call":
            events.append(
                {"type": "response.function_call_arguments.delta", **place, "delta": '{"a":1}'}
            )
        elif item["type"] == "reasoning":
            events.append(
                {
                    "type": "response.reasoning_summary_text.delta",
                    **place,
                    "summary_index": 0,
                    "delta": "Thought.",
                }
            )
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    events.append({"type": "response.completed", "response": _RESPONSE})
    return [{**event, "sequence_number": at} for at, event in enumerate(events)]


STREAMS: dict[str, list[Json]] = {
    "able-1": [
        _chunk({"role": "assistant", "content": ""}), _chunk({"reasoning_content": "Thought."}), _chunk({"content": "Hi."}),
        _chunk({"tool_calls": [{"index": 0, **_CALL}]}), _chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]}),
        _chunk({"refusal": "No."}), _chunk({}, "tool_calls"), {**_chunk({}), "choices": [], "usage": _CHAT_USAGE},
    ],
    "claude-haiku-9": _message_events(), "reply-9": _response_events(),
    "gem-9": [{**_GEMINI, "candidates": [{**_CANDIDATE, "finishReason": None}]}, _GEMINI],
}  # fmt: skip


def frame(value: Any) -> bytes:
    """Return one event, with its name if its dialect names events."""
    kind = value.get("type") if isinstance(value, dict) else None
    name = b"event: %b\n" % kind.encode() if isinstance(kind, str) and kind.isprintable() else b""
    return name + b"data: " + jsonio.dumps(value) + b"\n\n"


def answer(model: str, chance: random.Random, *, streamed: bool) -> Answer:
    """Return one answer with something odd in it."""
    if not streamed:
        body = jsonio.dumps(odd.changed(WHOLE[model], chance))
        return Answer(pieces=(body,), length=len(body))
    frames = list(STREAMS[model])
    for _ in range(chance.choice((1, 1, 2))):
        at, kind = chance.randrange(len(frames)), chance.random()
        if kind < 0.8:
            frames[at] = odd.changed(frames[at], chance)
        elif kind < 0.87:
            frames.insert(at, frames[at])
        elif kind < 0.94 and len(frames) > 1:
            del frames[at]
        else:
            second = chance.randrange(len(frames))
            frames[at], frames[second] = frames[second], frames[at]
    data = b"".join(map(frame, frames)) + (DONE if model == "able-1" else b"")
    return Answer(pieces=(data,), headers=SSE)
