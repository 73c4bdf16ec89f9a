"""Responses answers that together have every member of the list."""

from tests.dialects.members.answer_samples import AnswerSamples
from tests.dialects.request_strategies import PNG, Object

_HEAD: Object = {"id": "resp_1", "object": "response", "created_at": 7, "model": "m-1"}
_COUNTS: Object = {"input_tokens": 900, "output_tokens": 90, "total_tokens": 990}
_TOKEN: Object = {"token": "a", "logprob": -1.5, "bytes": [97], "top_logprobs": []}
_CITATION: Object = {
    "type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 1,
}  # fmt: skip
_FILES: tuple[Object, ...] = (
    {"type": "file_citation", "file_id": "file-1", "filename": "a.md", "index": 1},
    {"type": "container_file_citation", "file_id": "file-2", "start_index": 0, "end_index": 1},
    {"type": "file_path", "file_id": "file-3", "index": 1},
    {"type": "a_new_one", "url": "https://b.test"},
)
_TEXT: Object = {
    "type": "output_text", "text": "a", "annotations": [_CITATION], "logprobs": [_TOKEN],
}  # fmt: skip
_MESSAGE: Object = {
    "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
    "phase": "final_answer", "created_by": "m-1", "content": [_TEXT],
}  # fmt: skip
_REASONING: Object = {
    "type": "reasoning", "id": "rs_1", "status": "completed", "encrypted_content": "sealed",
    "summary": [{"type": "summary_text", "text": "hm"}], "format": "openai-responses-v1",
}  # fmt: skip
_PROGRAM: Object = {"type": "program", "caller_id": "p_1"}
_CALL: Object = {
    "type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1",
    "name": "find", "arguments": '{"a":"b"}', "namespace": "web", "caller": _PROGRAM, "async": True,
}  # fmt: skip
_CUSTOM_CALL: Object = {
    "type": "custom_tool_call", "id": "ctc_1", "status": "completed", "call_id": "call_2",
    "name": "run", "input": "ls", "namespace": "web", "caller": {"type": "direct"}, "async": True,
}  # fmt: skip
_PICTURE: Object = {
    "type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG,
    "output_format": "png", "revised_prompt": "A wet dot.", "action": "generate",
    "background": "opaque", "quality": "low", "size": "auto", "svg_usage": {"total_tokens": 7},
}  # fmt: skip
_SEARCH: Object = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
_OTHER_ITEMS = (
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call",
    "compaction", "computer_call", "computer_call_output", "custom_tool_call_output",
    "file_search_call", "function_call_output", "local_shell_call", "local_shell_call_output",
    "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools", "program",
    "program_output", "shell_call", "shell_call_output", "tool_search_call", "tool_search_output",
    "web_search_call", "a_new_one",
)  # fmt: skip
_IGNORED_EVENTS = (
    "keepalive", "response.image_generation_call.partial_image", "response.output_text.done",
    "response.content_part.added", "response.web_search_call.searching",
)  # fmt: skip
_TOOL_USAGES: tuple[Object, ...] = (
    {"num_search_queries": 2},
    {"num_sources_used": 2, "num_server_side_tools_used": 2},
    {"citation_tokens": 2},
    {"prompt_audio_seconds": 2},
    {"search_context_size": "low"},
    {"server_tool_use": {"web_search_requests": 2}},
    {"server_tool_use_details": {"web_search_requests": 2}},
    {"server_side_tool_usage_details": {"web_search_calls": 2}},
    {"cost": 0.5},
    {"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.25}},
    {"cost_in_usd_ticks": 1707000},
    {
        "input_tokens_details": {
            "cached_tokens": 8,
            "audio_tokens": 8,
            "cached_tokens_details": {"text_tokens": 8},
        },
    },
    {
        "input_tokens_details": {
            "cached_tokens": 8,
            "cached_tokens_details": {"audio_tokens": 3, "image_tokens": 3, "video_tokens": 2},
            "cache_write_tokens": 8,
            "cache_write_tokens_details": {"ttl_30m_tokens": 4},
            **dict.fromkeys(("audio_tokens", "image_tokens", "video_tokens", "text_tokens"), 8),
        },
        "output_tokens_details": {
            "reasoning_tokens": 8,
            **dict.fromkeys(("audio_tokens", "image_tokens", "video_tokens", "text_tokens"), 8),
        },
    },
    {"total_tokens": 998, "output_tokens_details": {"reasoning_tokens": 8}},
)


def complete(*output: Object, **members: object) -> Object:
    """Return a response of these items."""
    return {**_HEAD, "status": "completed", "output": [*output], "usage": _COUNTS, **members}


def write_event(kind: str, **members: object) -> Object:
    """Return an event; its members without `response.` before them."""
    return {"type": f"response.{kind}", "sequence_number": 1, **members}


def place(index: int, **members: object) -> Object:
    """Return the members that place an event, with others."""
    return {"output_index": index, "item_id": "it_1", **members}


def write_delta(kind: str, index: int, **members: object) -> Object:
    """Return a delta at the place of an item."""
    return write_event(f"{kind}.delta", **place(index, delta="a", obfuscation="xyz", **members))


def write_item(kind: str, index: int, item: Object) -> Object:
    """Return the event of an item that is `added` or `done`."""
    return write_event(f"output_item.{kind}", **place(index, item=item))


def begin(kind: str = "created", **members: object) -> Object:
    """Return a lifecycle event."""
    response = {**_HEAD, "status": "in_progress", "output": [], "service_tier": "flex", **members}
    return write_event(kind, response=response)


def end(*output: Object, kind: str = "completed", **members: object) -> Object:
    """Return the last event."""
    return write_event(kind, response=complete(*output, **members), copilot_usage={"a": 1})


SAMPLES = AnswerSamples(
    answers=(
        complete(
            _REASONING,
            _MESSAGE,
            _CALL,
            _CUSTOM_CALL,
            _PICTURE,
            service_tier="flex",
            moderation={"output": {"type": "moderation_result"}},
            instructions="Be brief.",
            billing={"payer": "developer"},
            tool_usage={"web_search": {"num_requests": 2}, "image_gen": {"total_tokens": 7}},
        ),
        complete(_MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"}),
        complete({**_REASONING, "summary": [], "content": [{"text": "hm"}]}),
        complete({**_CALL, "call_id": None, "caller": None}),
        complete({**_CUSTOM_CALL, "call_id": None, "caller": _PROGRAM}),
        complete({**_PICTURE, "result": None, "error": {"code": "moderation_blocked"}}),
        complete(
            {
                **_MESSAGE,
                "content": [
                    {**_TEXT, "annotations": [*_FILES]},
                    {"type": "text", "text": "b"},
                    {"type": "refusal", "refusal": "no"},
                    {"text": "c"},
                    {"refusal": "never"},
                    {"type": "a_new_one", "x": 1},
                ],
            }
        ),
        complete(*({"type": kind, "id": "it_1", "x": 1} for kind in _OTHER_ITEMS)),
        complete(_SEARCH, usage={**_COUNTS}),
        *(complete(_MESSAGE, usage={**_COUNTS, **more}) for more in _TOOL_USAGES),
    ),
    streams=(
        (
            begin(),
            begin("in_progress", service_tier="priority"),
            write_item("added", 0, {**_REASONING, "summary": []}),
            write_delta("reasoning_summary_text", 0, summary_index=0),
            write_delta("reasoning_summary_text", 0, summary_index=1),
            write_item("done", 0, _REASONING),
            write_item("added", 1, {**_MESSAGE, "content": []}),
            write_delta("output_text", 1, content_index=0, logprobs=[_TOKEN]),
            write_event("output_text.annotation.added", **place(1, annotation=_CITATION, content_index=0, annotation_index=0)),
            write_item("done", 1, _MESSAGE),
            write_item("added", 2, {**_CALL, "arguments": ""}),
            write_delta("function_call_arguments", 2),
            write_item("done", 2, _CALL),
            write_item("added", 3, {**_CUSTOM_CALL, "input": ""}),
            write_delta("custom_tool_call_input", 3),
            write_item("done", 3, _CUSTOM_CALL),
            write_item("done", 4, _PICTURE),
            end(
                _REASONING,
                _MESSAGE,
                _CALL,
                service_tier="flex",
                moderation={"output": {"type": "moderation_result"}},
                instructions="Be brief.",
                tool_usage={"web_search": {"num_requests": 2}},
            ),
        ),
        (
            begin("queued"),
            write_delta("reasoning_text", 0, content_index=0),
            write_item("done", 0, {**_REASONING, "summary": [], "content": [{"text": "hm"}]}),
            write_delta("refusal", 1, content_index=0),
            write_item("done", 1, {**_MESSAGE, "content": [{"type": "refusal", "refusal": "a"}]}),
            end(
                kind="incomplete",
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
            ),
        ),
        (
            begin(),
            write_delta("reasoning_summary_text", 3, summary_index=0),
            write_item("done", 3, _REASONING),
            write_item("added", 4, {**_MESSAGE, "content": []}),
            write_delta("output_text", 4, content_index=0),
            end(_MESSAGE),
        ),
        (
            begin("in_progress"),
            write_event("audio.delta", delta="QUJD"),
            write_event("audio.transcript.delta", delta="hi"),
            *({"type": kind, "x": 1} for kind in _IGNORED_EVENTS),
            {"sequence_number": 3},
            end(_MESSAGE),
        ),
    ),
)  # fmt: skip
