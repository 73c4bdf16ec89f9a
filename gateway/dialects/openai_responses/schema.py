"""Every member of a Responses request that is known, and what translation does with it.

Sources: OpenAI's API reference and the types of its SDK; `input_audio` and `x_search_call` are of
hosts that follow it. The decoder refuses hosted tools and references whole.
"""

from gateway.dialects.member_list import (
    CARRIED,
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
    "status": ignore("takes whole items alone"),
}
_UNTYPED_MESSAGE = {
    **_ITEM,
    "role": READ,
    "content": read_inside("part"),
    "phase": ignore("does not tell comments from answers"),
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
    "caller:direct": {"type": ignore("has calls of the model alone")},
    "caller:program": {WHOLE: name_loss("has no programs that call tools")},
    "item:additional_tools": {
        **_TYPE,
        **_ITEM,
        "role": ignore("has no roles of tools"),
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
        "annotations": name_loss("takes no citations in what it is asked"),
        "logprobs": ignore("takes no log probabilities of earlier answers"),
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
