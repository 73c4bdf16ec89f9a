"""The known members of Responses requests and answers, and what translation does with them.

Sources: OpenAI's API reference and the types of its SDK; `input_audio` and `x_search_call` are of
hosts that follow it. In requests the decoder refuses hosted tools and references whole. In answers
it names the items of hosted tools by their types.
"""

from gateway.dialects.beta_headers import BetaHeader
from gateway.dialects.member_list import (
    CARRIED,
    OTHER,
    READ,
    WHOLE,
    Member,
    MemberList,
    Members,
    approximate,
    ignore,
    name_loss,
    read_inside,
    refuse,
)

"""A top-level member that no field of a canonical request holds."""
_NO_CONTROL = name_loss("has no such control")
_NO_PADDING = "gets a stream of its own dialect, without padding"
_TYPE = {"type": READ}
_CACHE = {"prompt_cache_breakpoint": read_inside("cache")}
_ITEM = {
    "id": ignore("has no ids of items"),
    "agent": name_loss("has one agent"),
    "status": ignore("accepts only whole items"),
}
_UNTYPED_MESSAGE = {
    **_ITEM,
    "role": READ,
    "content": read_inside("part"),
    "phase": ignore("does not separate comments from answers"),
}
_MESSAGE = {**_TYPE, **_UNTYPED_MESSAGE}
_TEXT = {**_TYPE, **_CACHE, "text": READ}
_SAME_TYPE = ignore("gets the text in its own form")
_CALL = {
    **_TYPE,
    **_ITEM,
    "call_id": READ,
    "name": READ,
    "namespace": READ,
    "caller": read_inside("caller"),
    "async": name_loss("waits for the results of all calls"),
}
_RESULT = {
    **_TYPE,
    **_ITEM,
    "call_id": READ,
    "output": read_inside("part"),
    "caller": read_inside("caller"),
}
_TOOL = {
    **_TYPE,
    "name": READ,
    "description": READ,
    "allowed_callers": _NO_CONTROL,
    "async": _NO_CONTROL,
    "defer_loading": _NO_CONTROL,
}
_NAMED_CHOICE = {
    "type": ignore("knows a tool by its name"),
    "name": READ,
    "namespace": READ,
}
_REFUSED_BY_DECODER: Members = {WHOLE: READ}
"""An object that the decoder refuses whole."""
_AS_TEXT: Members = {WHOLE: approximate("gets the work of another provider's tool as text")}
_LEFT_OUT: Members = {WHOLE: name_loss("does not know what another provider's tool did")}
_HOSTED_CHOICE: Members = {WHOLE: refuse("does not have this tool of another provider")}

REQUEST: MemberList = {
    "request": {
        **dict.fromkeys(
            (
                "model", "instructions", "parallel_tool_calls", "max_output_tokens", "temperature",
                "top_p", "top_logprobs", "service_tier", "metadata", "prompt_cache_key", "stream",
                "include", "safety_identifier", "user", "truncation",
            ),
            READ,
        ),
        "input": read_inside("item"),
        "tools": read_inside("tool"),
        "tool_choice": read_inside("choice"),
        "text": read_inside("text"),
        "reasoning": read_inside("reasoning"),
        "stream_options": Member("ignored", _NO_PADDING, inside="stream_options"),
        "multi_agent": read_inside("multi_agent"),
        "previous_response_id": refuse("does not know this earlier answer"),
        "conversation": refuse("does not know this conversation"),
        "background": refuse("does not answer in the background"),
        "prompt": refuse("does not know this stored prompt"),
        **dict.fromkeys(
            (
                "access_programs", "background_options", "context_management", "image",
                "max_tool_calls", "moderation", "prompt_cache_options", "prompt_cache_retention",
                "store",
            ),
            name_loss(),
        ),
    },
    "stream_options": {
        "include_obfuscation": ignore(_NO_PADDING),
    },
    "multi_agent": {
        "enabled": name_loss("has no agents that its provider runs"),
        "max_concurrent_subagents": ignore("has no such agents; the gateway reports `enabled`"),
    },
    "text": {"format": read_inside("format"), "verbosity": READ},
    "format:text": _TYPE,
    "format:json_object": _TYPE,
    "format:json_schema": {
        **_TYPE, "name": READ, "description": READ, "schema": CARRIED, "strict": READ,
    },
    "reasoning": {
        "effort": READ,
        "summary": READ,
        "generate_summary": READ,
        "context": _NO_CONTROL,
        "mode": _NO_CONTROL,
    },
    "item:": _UNTYPED_MESSAGE,
    "item:message": _MESSAGE,
    "item:reasoning": {
        **_TYPE,
        **_ITEM,
        "summary": read_inside("reasoning_text"),
        "content": read_inside("reasoning_text"),
        "encrypted_content": READ,
    },
    "reasoning_text": {"type": _SAME_TYPE, "text": READ},
    "item:function_call": {**_CALL, "arguments": CARRIED},
    "item:custom_tool_call": {**_CALL, "input": CARRIED},
    "item:function_call_output": {
        **_RESULT,
        "name": READ,
        "namespace": ignore("finds the call of a result by its id"),
    },
    "item:custom_tool_call_output": _RESULT,
    "caller:direct": {"type": ignore("lets only the model call tools")},
    "caller:program": {WHOLE: name_loss("has no programs that call tools")},
    "item:additional_tools": {
        **_TYPE,
        **_ITEM,
        "role": ignore("has no role for tools"),
        "tools": read_inside("tool"),
    },
    "item:item_reference": _REFUSED_BY_DECODER,
    "item:compaction_trigger": {WHOLE: refuse("does not compact a conversation")},
    "item:configuration_update": {WHOLE: name_loss("has no settings between turns")},
    "item:compaction": {WHOLE: refuse("cannot read what another provider has compacted")},
    **dict.fromkeys(
        (
            "item:web_search_call", "item:file_search_call", "item:code_interpreter_call",
            "item:program", "item:program_output", "item:local_shell_call",
            "item:local_shell_call_output", "item:shell_call", "item:shell_call_output",
            "item:apply_patch_call", "item:apply_patch_call_output", "item:mcp_call",
            "item:agent_message", "item:multi_agent_call", "item:multi_agent_call_output",
        ),
        _AS_TEXT,
    ),
    **dict.fromkeys(
        (
            "item:computer_call", "item:computer_call_output", "item:image_generation_call",
            "item:mcp_list_tools", "item:mcp_approval_request", "item:mcp_approval_response",
            "item:tool_search_call", "item:tool_search_output", "item:x_search_call",
        ),
        _LEFT_OUT,
    ),
    "part:input_text": _TEXT,
    "part:text": _TEXT,
    "part:output_text": {
        **_TEXT,
        "annotations": name_loss("does not accept citations in a request"),
        "logprobs": ignore("does not accept log probabilities of earlier answers"),
    },
    "part:refusal": {**_TYPE, "refusal": READ},
    "part:input_image": {**_TYPE, **_CACHE, "image_url": READ, "file_id": READ, "detail": READ},
    "part:input_file": {
        **_TYPE,
        **_CACHE,
        **dict.fromkeys(("file_data", "file_id", "file_url", "filename", "detail"), READ),
    },
    "part:input_audio": {**_TYPE, "input_audio": read_inside("sound")},
    "sound": {"data": READ, "format": READ},
    "cache": {"ttl": READ, "mode": ignore("has one kind of breakpoint")},
    "tool:function": {
        **_TOOL, "parameters": CARRIED, "strict": READ, "output_schema": _NO_CONTROL,
    },
    "tool:custom": {**_TOOL, "format": CARRIED},
    "tool:namespace": {**_TYPE, "name": READ, "description": READ, "tools": read_inside("tool")},
    **dict.fromkeys(
        (
            "tool:apply_patch", "tool:code_interpreter", "tool:computer",
            "tool:computer_use_preview", "tool:file_search", "tool:image_generation",
            "tool:local_shell", "tool:mcp", "tool:programmatic_tool_calling", "tool:shell",
            "tool:tool_search", "tool:web_search", "tool:web_search_2025_08_26",
            "tool:web_search_preview", "tool:web_search_preview_2025_03_11",
        ),
        _REFUSED_BY_DECODER,
    ),
    "choice:function": _NAMED_CHOICE,
    "choice:custom": _NAMED_CHOICE,
    "choice:allowed_tools": {**_TYPE, "mode": READ, "tools": CARRIED},
    **dict.fromkeys(
        (
            "choice:apply_patch", "choice:code_interpreter", "choice:computer",
            "choice:computer_use", "choice:computer_use_preview", "choice:file_search",
            "choice:image_generation", "choice:mcp", "choice:programmatic_tool_calling",
            "choice:shell", "choice:web_search", "choice:web_search_preview",
            "choice:web_search_preview_2025_03_11",
        ),
        _HOSTED_CHOICE,
    ),
}  # fmt: skip

_ECHO = ignore("does not need its own request back")
_OF_PROVIDER = ignore("does not need details of the provider's work")
_REPEATED = ignore("gets the same from another member")
_IN_THEIR_ORDER = ignore("has them in their order")
_NO_ITEM_IDS = ignore("knows an item by its place")
_OWN_WORD = ignore("has its own word for it")
_AS_ERROR = ignore("gets it as an error")
_NO_PLACE = name_loss("has no place for it in an answer")
_NO_NAMESPACES = name_loss("has no namespaces of tools")
_MEDIA_TOKENS = {
    **dict.fromkeys(("audio_tokens", "image_tokens", "video_tokens"), READ),
    "text_tokens": ignore("counts the rest as text"),
}
_CACHED_MEDIA_TOKENS = {**_MEDIA_TOKENS, "text_tokens": READ}
_RESPONSE: Members = {
    **dict.fromkeys(("id", "model", "created_at", "service_tier", "status"), READ),
    "output": read_inside("item", path="output"),
    "usage": read_inside("usage", path="usage"),
    "tool_usage": read_inside("tool_usage", path="tool_usage"),
    "incomplete_details": read_inside("end", path="incomplete_details"),
    "error": _AS_ERROR,
    "moderation": _NO_PLACE,
    "object": _OWN_WORD,
    "output_text": _REPEATED,
    "content_filters": ignore("learns from the finish reason what a filter withheld"),
    **dict.fromkeys(
        (
            "access_programs", "background", "conversation", "frequency_penalty", "image", "input",
            "instructions", "max_output_tokens", "max_tool_calls", "metadata",
            "parallel_tool_calls", "presence_penalty", "previous_response_id", "prompt",
            "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
            "safety_identifier", "store", "temperature", "text", "tool_choice", "tools",
            "top_logprobs", "top_p", "truncation", "user",
        ),
        _ECHO,
    ),
    **dict.fromkeys(
        (
            "billing", "completed_at", "copilot_usage", "input_transformations",
            "prompt_cache_diagnostics", "system_fingerprint",
        ),
        _OF_PROVIDER,
    ),
}  # fmt: skip
_ANSWER_ITEM = {"status": ignore("accepts only whole items"), "created_by": _OF_PROVIDER}
_ANSWER_CALL = {
    **_ANSWER_ITEM,
    **dict.fromkeys(("type", "id", "call_id", "name"), READ),
    "namespace": _NO_NAMESPACES,
    "caller": read_inside("caller"),
    "async": name_loss("waits for the results of all calls"),
}
_ANSWER_PART = {"text": READ, "refusal": READ}
_EVENT = {"type": READ, "sequence_number": ignore("numbers events in its own way")}
_PLACED_EVENT = {**_EVENT, "output_index": READ, "item_id": _NO_ITEM_IDS}
_RESPONSE_EVENT: Members = {
    **_EVENT,
    "response": read_inside("response", path="response"),
    "copilot_usage": _OF_PROVIDER,
}
_ITEM_EVENT: Members = {**_PLACED_EVENT, "item": read_inside("item", path="output")}
_DELTA: Members = {**_PLACED_EVENT, "delta": READ, "obfuscation": ignore(_NO_PADDING)}
_PART_DELTA: Members = {**_DELTA, "content_index": _IN_THEIR_ORDER}
_NAMED_EVENT: Members = {WHOLE: _NO_PLACE}
_REPEATED_EVENT: Members = {WHOLE: ignore("gets the same from the item that is done")}
_ITEM_READ: Members = {WHOLE: READ}
"""An item that the decoder names by its type, or a part or source that it takes whole."""

ANSWER: MemberList = {
    "answer": _RESPONSE,
    "response": _RESPONSE,
    "end": {"reason": READ},
    "item:message": {
        **_ANSWER_ITEM,
        "type": READ,
        "id": READ,
        "content": read_inside("part"),
        "role": ignore("knows that the assistant answers"),
        "phase": ignore("does not separate comments from answers"),
    },
    "item:reasoning": {
        **_ANSWER_ITEM,
        **dict.fromkeys(("type", "id", "encrypted_content"), READ),
        "summary": read_inside("reasoning_text"),
        "content": read_inside("reasoning_text"),
        "format": _OF_PROVIDER,
    },
    "item:function_call": {**_ANSWER_CALL, "arguments": CARRIED},
    "item:custom_tool_call": {**_ANSWER_CALL, "input": CARRIED},
    "item:image_generation_call": {
        **_ANSWER_ITEM,
        **dict.fromkeys(("type", "result", "output_format"), READ),
        "id": _NO_ITEM_IDS,
        "revised_prompt": _NO_PLACE,
        "error": ignore("learns from its type that an item has no picture"),
        **dict.fromkeys(("action", "background", "quality", "size"), _ECHO),
        "svg_usage": _OF_PROVIDER,
    },
    **dict.fromkeys(
        (
            "item:additional_tools", "item:apply_patch_call", "item:apply_patch_call_output",
            "item:code_interpreter_call", "item:compaction", "item:computer_call",
            "item:computer_call_output", "item:custom_tool_call_output", "item:file_search_call",
            "item:function_call_output", "item:local_shell_call", "item:local_shell_call_output",
            "item:mcp_approval_request", "item:mcp_approval_response", "item:mcp_call",
            "item:mcp_list_tools", "item:program", "item:program_output", "item:shell_call",
            "item:shell_call_output", "item:tool_search_call", "item:tool_search_output",
            "item:web_search_call", f"item:{OTHER}",
        ),
        _ITEM_READ,
    ),
    "caller:direct": {"type": ignore("lets only the model call tools")},
    "caller:program": {WHOLE: name_loss("has no programs that call tools")},
    "part:output_text": {
        "type": READ,
        "text": READ,
        "annotations": read_inside("annotation"),
        "logprobs": CARRIED,
    },
    "part:text": {"type": READ, "text": READ},
    "part:refusal": {"type": READ, "refusal": READ},
    "part:": {"text": READ, "refusal": READ},
    f"part:{OTHER}": _ITEM_READ,
    "annotation:url_citation": dict.fromkeys(
        ("type", "url", "title", "start_index", "end_index"), READ
    ),
    **dict.fromkeys(
        (
            "annotation:container_file_citation", "annotation:file_citation",
            "annotation:file_path", f"annotation:{OTHER}",
        ),
        _ITEM_READ,
    ),
    "reasoning_text": {"type": _SAME_TYPE, "text": READ},
    "usage": {
        **dict.fromkeys(
            (
                "input_tokens", "output_tokens", "total_tokens", "num_search_queries",
                "num_sources_used", "citation_tokens", "prompt_audio_seconds",
                "search_context_size", "is_byok", "cost_in_usd_ticks",
            ),
            READ,
        ),
        **dict.fromkeys(
            (
                "cost", "cost_details", "server_tool_use", "server_tool_use_details",
                "server_side_tool_usage_details",
            ),
            CARRIED,
        ),
        "input_tokens_details": read_inside("input_details"),
        "output_tokens_details": read_inside("output_details"),
        "num_server_side_tools_used": _REPEATED,
        **dict.fromkeys(("context_details", "pydantic_ai_gateway"), _OF_PROVIDER),
    },
    "input_details": {
        "cached_tokens": READ,
        "cache_write_tokens": READ,
        "cache_write_tokens_details": CARRIED,
        "cached_tokens_details": read_inside("cached_details"),
        **_MEDIA_TOKENS,
    },
    "cached_details": _CACHED_MEDIA_TOKENS,
    "output_details": {"reasoning_tokens": READ, **_MEDIA_TOKENS},
    "tool_usage": {
        "web_search": read_inside("searches"),
        "image_gen": ignore("is billed for it as for a tool"),
    },
    "searches": {"num_requests": READ},
    "event:": {"sequence_number": _EVENT["sequence_number"]},
    **dict.fromkeys(
        (
            "event:response.created", "event:response.queued", "event:response.in_progress",
            "event:response.completed", "event:response.incomplete",
        ),
        _RESPONSE_EVENT,
    ),
    "event:response.output_item.added": _ITEM_EVENT,
    "event:response.output_item.done": _ITEM_EVENT,
    "event:response.output_text.delta": {**_PART_DELTA, "logprobs": CARRIED},
    "event:response.refusal.delta": _PART_DELTA,
    "event:response.reasoning_text.delta": {**_DELTA, "content_index": READ},
    "event:response.reasoning_summary_text.delta": {**_DELTA, "summary_index": READ},
    "event:response.function_call_arguments.delta": _DELTA,
    "event:response.custom_tool_call_input.delta": _DELTA,
    "event:response.output_text.annotation.added": {
        **_PLACED_EVENT,
        "annotation": read_inside("annotation", path="output.content.annotations"),
        "content_index": _IN_THEIR_ORDER,
        "annotation_index": _IN_THEIR_ORDER,
    },
    "event:response.failed": {WHOLE: _AS_ERROR},
    "event:error": {WHOLE: _AS_ERROR},
    "event:response.audio.delta": _NAMED_EVENT,
    "event:response.audio.transcript.delta": _NAMED_EVENT,
    "event:response.audio.done": {WHOLE: _REPEATED},
    "event:response.audio.transcript.done": {WHOLE: _REPEATED},
    "event:response.image_generation_call.partial_image": {
        WHOLE: ignore("gets the finished picture")
    },
    "event:keepalive": {WHOLE: ignore("keeps streams alive in its own way")},
    **dict.fromkeys(
        (
            "event:response.content_part.added", "event:response.content_part.done",
            "event:response.output_text.done", "event:response.refusal.done",
            "event:response.reasoning_part.added", "event:response.reasoning_part.done",
            "event:response.reasoning_text.done", "event:response.reasoning_summary_part.added",
            "event:response.reasoning_summary_part.done",
            "event:response.reasoning_summary_text.done",
            "event:response.function_call_arguments.done",
            "event:response.custom_tool_call_input.done",
            "event:response.apply_patch_call_operation_diff.delta",
            "event:response.apply_patch_call_operation_diff.done",
            "event:response.code_interpreter_call.completed",
            "event:response.code_interpreter_call.in_progress",
            "event:response.code_interpreter_call.interpreting",
            "event:response.code_interpreter_call_code.delta",
            "event:response.code_interpreter_call_code.done",
            "event:response.compaction.compacting",
            "event:response.file_search_call.completed",
            "event:response.file_search_call.in_progress",
            "event:response.file_search_call.searching",
            "event:response.image_generation_call.completed",
            "event:response.image_generation_call.generating",
            "event:response.image_generation_call.in_progress",
            "event:response.mcp_call.completed", "event:response.mcp_call.failed",
            "event:response.mcp_call.in_progress", "event:response.mcp_call_arguments.delta",
            "event:response.mcp_call_arguments.done", "event:response.mcp_list_tools.completed",
            "event:response.mcp_list_tools.failed", "event:response.mcp_list_tools.in_progress",
            "event:response.shell_call_command.added", "event:response.shell_call_command.delta",
            "event:response.shell_call_command.done",
            "event:response.shell_call_output_content.delta",
            "event:response.shell_call_output_content.done",
            "event:response.web_search_call.completed",
            "event:response.web_search_call.in_progress",
            "event:response.web_search_call.searching",
        ),
        _REPEATED_EVENT,
    ),
}  # fmt: skip
BETA_HEADER = BetaHeader(
    "openai-beta",
    {
        "responses_multi_agent=v1": ignore("gets or loses each member of this beta separately"),
        **dict.fromkeys(
            ("responses=experimental", "responses_websockets=2026-02-06"),
            ignore("does so without a beta"),
        ),
        **dict.fromkeys(
            ("agents=v1", "assistants=v2", "chatkit_beta=v1", "realtime=v1"),
            ignore("needs no beta of another endpoint"),
        ),
    },
)
"""Betas that OpenAI's SDK and Codex ask for, and what translation does with them."""
