"""Messages answers that together have every member of the list."""

from gateway.dialects.anthropic_messages.schema import ANSWER
from gateway.dialects.member_list import OTHER, WHOLE
from tests.dialects.members.answer_samples import AnswerSamples
from tests.dialects.request_strategies import Object

_COUNTS: Object = {"input_tokens": 900, "output_tokens": 90}
_CACHED: Object = {
    **_COUNTS,
    "cache_read_input_tokens": 80,
    "cache_creation_input_tokens": 70,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 10},
}
_FEW: Object = {"input_tokens": 1, "output_tokens": 1}
_WEB: Object = {"url": "https://a.test", "title": "A", "cited_text": "a", "encrypted_index": "e"}
_DOCUMENT: Object = {"cited_text": "a", "document_index": 0, "document_title": "A", "file_id": "f"}
_CITATIONS: tuple[Object, ...] = (
    _WEB,
    {"type": "web_search_result_location", **_WEB},
    {
        "type": "search_result_location",
        "source": "https://a.test",
        "title": "A",
        "cited_text": "a",
        "search_result_index": 0,
        "start_block_index": 0,
        "end_block_index": 1,
    },
    {"type": "char_location", **_DOCUMENT, "start_char_index": 1, "end_char_index": 2},
    {"type": "page_location", **_DOCUMENT, "start_page_number": 1, "end_page_number": 2},
    {"type": "content_block_location", **_DOCUMENT, "start_block_index": 1, "end_block_index": 2},
)
_REFUSAL: Object = {
    "type": "refusal",
    "category": "cyber",
    "explanation": "It may harm.",
    "fallback_credit_token": "t",
    "fallback_has_prefill_claim": True,
    "recommended_model": "m-2",
}
_EDITS: Object = {
    "context_management": {
        "applied_edits": [{"type": "clear_thinking_20251015", "cleared_input_tokens": 7}]
    },
    "input_transformations": [
        {"type": kind, "path": "messages.0", "reason": "model_binding_mismatch"}
        for kind in ("thinking_dropped", "thinking_mismatch_allowed")
    ],
}
_DIAGNOSTICS: Object = {"diagnostics": {"cache_miss_reason": {"type": "unavailable"}}}
_END: Object = {
    "stop_reason": "stop_sequence",
    "stop_sequence": "END",
    "stop_details": _REFUSAL,
    "container": {"id": "c-1"},
}
_TOOL: Object = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "find",
    "input": {"a": "b"},
    "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"},
    "toolset_name": "browser",
}
_BLOCKS: tuple[Object, ...] = (
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "c2ln"},
    {"type": "text", "text": "hello", "citations": [*_CITATIONS]},
    _TOOL,
    *(
        {"type": word, "name": "x", "input": {}}
        for key in ANSWER
        if (word := key.removeprefix("block:")) != key and WHOLE in ANSWER[key] and word != OTHER
    ),
    {"type": "new_block", "x": 1},
)
_DELTAS: tuple[tuple[Object, ...], ...] = (
    (
        {"type": "thinking", "thinking": ""},
        {"type": "thinking_delta", "thinking": "hm", "estimated_tokens": 7},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    (
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "hello"},
        *({"type": "citations_delta", "citation": citation} for citation in _CITATIONS),
        {"type": "new_delta", "x": 1},
    ),
    ({**_TOOL, "input": {}}, {"type": "input_json_delta", "partial_json": "{}"}),
    (
        {"type": "compaction", "content": None},
        {"type": "compaction_delta", "content": "a", "encrypted_content": "e"},
    ),
)
_USAGES: tuple[Object, ...] = (
    {**_CACHED, "output_tokens_details": {"thinking_tokens": 8}},
    {**_COUNTS, "fallback_credit": {"status": {"type": "redeemed"}}},
    *(
        {**_FEW, "iterations": [{"type": kind, "model": "m-1", **_CACHED}]}
        for kind in ("message", "compaction", "advisor_message")
    ),
    {
        **_FEW,
        "iterations": [
            {"type": kind, "model": "m-1", **_CACHED} for kind in ("message", "fallback_message")
        ],
    },
    *(
        {**_COUNTS, **more}
        for more in (
            {"service_tier": "priority"},
            {"speed": "fast"},
            {"inference_geo": "us"},
            {"server_tool_use": {"web_search_requests": 2}},
            {"server_tool_use_details": {"web_search_requests": 2}},
            {"server_side_tool_usage_details": {"web_search_calls": 2}},
            {"num_search_queries": 2},
            {"num_sources_used": 2},
            {"citation_tokens": 2},
            {"prompt_audio_seconds": 2},
            {"search_context_size": "low"},
            {"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.25}},
            {"cost_in_usd_ticks": 1707000},
        )
    ),
)


def complete(*blocks: Object, **members: object) -> Object:
    """Return a whole message of these blocks."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": [*blocks] or [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn",
        **members,
    }


def list_block_events(index: int, begun: Object, *deltas: Object) -> list[Object]:
    """List the events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


_START: Object = {"type": "message_start", "message": {**complete(), "content": []}}
_LAST: Object = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
_STOP: Object = {"type": "message_stop"}

SAMPLES = AnswerSamples(
    answers=(
        complete(*_BLOCKS, **_END, **_EDITS, **_DIAGNOSTICS),
        *(
            complete({"type": "text", "text": "a", "citations": [citation]})
            for citation in _CITATIONS
        ),
        *(complete(usage=usage) for usage in _USAGES),
    ),
    streams=(
        (
            {
                "type": "message_start",
                "message": {
                    **complete({"type": "text", "text": "early"}),
                    **_END,
                    **_EDITS,
                    **_DIAGNOSTICS,
                    "stop_reason": None,
                    "usage": _CACHED,
                },
            },
            {"type": "ping"},
            *(
                event
                for index, (begun, *deltas) in enumerate(_DELTAS)
                for event in list_block_events(index, begun, *deltas)
            ),
            {"type": "vertex_event"},
            _LAST,
            _STOP,
        ),
        (
            _START,
            *(
                event
                for index, block in enumerate(_BLOCKS)
                for event in list_block_events(index, block)
            ),
            {"type": "message_delta", "delta": _END, "usage": _COUNTS, **_EDITS},
            _STOP,
        ),
    ),
    stream_end=b"",
)
