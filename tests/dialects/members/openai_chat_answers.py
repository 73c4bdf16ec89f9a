"""Chat Completions answers that together have every member of the list."""

from tests.dialects.members.answer_samples import AnswerSamples
from tests.dialects.request_strategies import PNG, Object

_HEAD: Object = {"id": "c-1", "created": 7, "model": "m-1", "object": "chat.completion"}
_IMAGE: Object = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
_COUNTS: Object = {"prompt_tokens": 900, "completion_tokens": 90, "total_tokens": 990}
_TOKEN: Object = {"token": "a", "logprob": -1.5, "bytes": [97], "top_logprobs": []}
_DETAIL: Object = {"type": "reasoning.encrypted", "data": "c2VhbGVk", "index": 0}
_CITATION: Object = {"url": "https://a.test", "title": "A", "start_index": 0, "end_index": 1}
_AUDIO: Object = {"id": "audio_1", "data": "QUJD", "transcript": "hi", "expires_at": 9}
_SOURCE: Object = {
    "url": "https://a.test", "title": "A", "date": "2026-11-30", "last_updated": "2026-11-30",
    "snippet": "An old page.", "source": "web", "place_metadata": {"a": "b"},
}  # fmt: skip
_CALLS: list[object] = [
    {
        "id": "call_1",
        "type": "function",
        "index": 0,
        "function": {"name": "find", "arguments": '{"a":"b"}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    },
    {"id": "call_2", "type": "custom", "index": 1, "custom": {"name": "run", "input": "ls"}},
]
_TWO_CALLS: list[object] = [
    {"id": f"call_{index}", "index": index, "function": {"name": f"find_{index}"}}
    for index in (0, 1)
]
_MORE_ARGUMENTS: list[object] = [{"index": 0, "function": {"arguments": '{"a":"b"}'}}]
_CUSTOM_CALL: Object = {
    "id": "call_1", "type": "custom", "custom": {"name": "run", "input": "ls"}, "function": {},
}  # fmt: skip
_OTHER_LOG_PROBABILITIES: Object = {
    "tokens": ["a"], "token_logprobs": [-1.5], "token_ids": [7], "top_logprobs": [{"a": -1.5}],
}  # fmt: skip
_NAMED: Object = {
    "images": [{"url": "https://a.test/a.png"}],
    "related_questions": ["Why?"],
    "videos": [{"url": "https://a.test/a"}],
    "moderation": {"output": {"type": "moderation_results"}},
}
_TOOL_USAGES: tuple[Object, ...] = (
    {"num_search_queries": 2},
    {"num_sources_used": 2},
    {"citation_tokens": 2},
    {"prompt_audio_seconds": 2},
    {"search_context_size": "low"},
    {"server_tool_use": {"web_search_requests": 2}},
    {"server_tool_use_details": {"web_search_requests": 2}},
    {"server_side_tool_usage_details": {"web_search_calls": 2}},
    {"cost": 0.5},
    {"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.25}},
    {"cost_in_usd_ticks": 1707000},
    {"service_tier": "flex"},
    {"cached_tokens": 8},
    {"num_cached_tokens": 8},
    {"prompt_cache_hit_tokens": 8},
    {"cache_read_input_tokens": 8},
    {
        "cache_creation_input_tokens": 8,
        "cache_creation": {"ephemeral_5m_input_tokens": 8},
    },
    {"image_tokens": 8},
    {"reasoning_tokens": 8},
    {"market_cost": 0.5, "reasoning_tokens": 100, "total_tokens": 990},
    {"total_tokens": 998},
    {
        "prompt_tokens_details": {
            "cached_tokens": 8,
            "audio_tokens": 8,
            "cached_tokens_details": {"text_tokens": 8},
        },
    },
    {
        "prompt_tokens_details": {
            "cached_tokens": 8,
            "cached_tokens_details": {"audio_tokens": 3, "image_tokens": 3, "video_tokens": 2},
            "cache_write_tokens": 8,
            "cache_write_tokens_details": {"ephemeral_5m_tokens": 8},
            "audio_tokens": 8,
            "image_tokens": 8,
            "video_tokens": 8,
            "text_tokens": 876,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 8,
            "audio_tokens": 8,
            "image_tokens": 8,
            "video_tokens": 8,
            "accepted_prediction_tokens": 8,
        },
    },
)


def complete(message: Object, finish: str = "stop", **members: object) -> Object:
    """Return a whole answer of one message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {**_HEAD, "choices": [choice], **members}


def piece(delta: Object, finish: str | None = None, index: int = 0, **members: object) -> Object:
    """Return a chunk of one delta."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {**_HEAD, "choices": [choice], **members}


SAMPLES = AnswerSamples(
    answers=(
        {
            **_HEAD,
            **_NAMED,
            "service_tier": "flex",
            "usage": _COUNTS,
            "search_results": [_SOURCE],
            "cost": {"usd": 0.5},
            "choices": [
                {
                    "index": index,
                    "finish_reason": "stop",
                    "logprobs": {"content": [_TOKEN], "refusal": [_TOKEN]},
                    "message": {
                        "role": "assistant",
                        "content": "hello",
                        "refusal": "no",
                        "tool_calls": _CALLS,
                        "audio": _AUDIO,
                        "images": [_IMAGE],
                    },
                }
                for index in (0, 1)
            ],
        },
        complete(
            {"content": "a", "annotations": [{"type": "url_citation", "url_citation": _CITATION}]}
        ),
        complete({"content": "a", "executed_tools": [{"type": "python"}]}),
        complete({"content": "a"}, citations=["https://a.test"]),
        complete({"content": "a"}, x_groq={"id": "req_1", "usage": _COUNTS}),
        complete({"tool_calls": [_CUSTOM_CALL]}, "tool_calls"),
        complete({"function_call": {"name": "find", "arguments": "{}"}}, "function_call"),
        complete({"reasoning_details": [_DETAIL], "content": "a"}),
        complete(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "a"},
                    _IMAGE,
                    {"type": "reference", "reference_ids": [1]},
                ]
            }
        ),
        *(
            complete({"reasoning_content": "hm", "content": "a", name: "hm"})
            for name in ("reasoning_content", "reasoning", "reasoning_text")
        ),
        *(
            complete({name: "hm", "content": "a"})
            for name in ("reasoning_content", "reasoning", "reasoning_text")
        ),
        *(complete({"content": "a"}, usage={**_COUNTS, **more}) for more in _TOOL_USAGES),
        {
            **_HEAD,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "logprobs": _OTHER_LOG_PROBABILITIES,
                    "message": {"role": "assistant", "content": "a"},
                    "usage": _COUNTS,
                }
            ],
        },
    ),
    streams=(
        (piece({"tool_calls": _TWO_CALLS}), piece({"tool_calls": _MORE_ARGUMENTS}, "tool_calls")),
        (
            piece({"role": "assistant", "content": ""}, service_tier="flex", **_NAMED),
            piece({"reasoning_content": "hm"}),
            piece({"content": "a"}),
            piece({"content": "a"}, index=1, logprobs={"content": [_TOKEN]}),
            piece({"tool_calls": _CALLS}),
            piece({"audio": _AUDIO, "images": [_IMAGE]}),
            piece({}, "tool_calls"),
            piece({}, "stop", index=1),
            {**_HEAD, "choices": [], "usage": _COUNTS, "search_results": [_SOURCE]},
        ),
        (
            {**_HEAD, "choices": [{"delta": {"content": "a"}, "logprobs": {"content": [_TOKEN]}}]},
            piece({}, "stop", x_groq={"usage": _COUNTS}, cost={"usd": 0.5}),
        ),
        (
            piece({"content": "a"}, citations=["https://a.test"]),
            {**_HEAD, "choices": [{"delta": {}, "finish_reason": "stop", "usage": _COUNTS}]},
        ),
    ),
)
