"""Every member of a Messages request that is known, and what translation does with it.

Sources: Anthropic's API reference and the beta types of its SDK, which have all members. `WHOLE`
stands for blocks and tools of the provider's own, which `request_decoder` tells as text, drops or
refuses as a whole.
"""

from gateway.dialects.anthropic_messages import hosted_tools
from gateway.dialects.member_list import (
    CARRIED,
    READ,
    WHOLE,
    MemberList,
    Members,
    ignore,
    name_loss,
    read_inside,
    refuse,
)

_TYPE = {"type": READ}
_BY_DECODER: Members = {WHOLE: READ}
_CACHE = {"cache_control": read_inside("cache")}
_LOST_CACHE = name_loss("caches prompts by itself")
_NO_CITATIONS = name_loss("takes no citations in what it is asked")
_NO_TOOLSET = name_loss("has no sets of tools")
_CHOICE = {**_TYPE, "disable_parallel_tool_use": READ}
_THINKING = {
    **_TYPE,
    "display": READ,
    "block_binding": name_loss("does not check earlier reasoning"),
}
_TOOL = {
    **_CACHE,
    "name": READ,
    "description": READ,
    "input_schema": CARRIED,
    "strict": READ,
    "allowed_callers": name_loss("has tools that the model alone calls"),
    "defer_loading": name_loss("gets all tools at once"),
    "eager_input_streaming": name_loss("has no such control"),
    "input_examples": name_loss("takes no examples of a tool's input"),
}
"""A top-level member that no field of a canonical request holds; `compatibility` says more."""
_HOSTED_TOOLS = (
    "bash_20241022", "bash_20250124", "code_execution_20250522", "code_execution_20250825",
    "code_execution_20260120", "code_execution_20260521", "browser_toolset_20260801",
    "computer_20241022", "computer_20250124", "computer_20251124", "computer_toolset_20260801",
    "memory_20250818", "text_editor_20241022", "text_editor_20250124", "text_editor_20250429",
    "text_editor_20250728", "web_search_20250305", "web_search_20260209", "web_search_20260318",
    "web_fetch_20250910", "web_fetch_20260209", "web_fetch_20260309", "web_fetch_20260318",
    "advisor_20260301", "tool_search_tool_bm25", "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex", "tool_search_tool_regex_20251119", "mcp_toolset",
)  # fmt: skip

REQUEST: MemberList = {
    "request": {
        **dict.fromkeys(
            (
                "model", "max_tokens", "service_tier", "stop_sequences", "stream", "temperature",
                "top_p", "top_k", "metadata",
            ),
            READ,
        ),
        "messages": read_inside("message"),
        "system": read_inside("block"),
        "tools": read_inside("tool"),
        "tool_choice": read_inside("choice"),
        "thinking": read_inside("thinking"),
        "output_config": read_inside("output_config"),
        "output_format": read_inside("format"),
        "cache_control": _LOST_CACHE,
        **dict.fromkeys(
            (
                "betas", "billing_policy", "compaction", "context_management", "diagnostics",
                "fallback_credit_token", "fallbacks", "speed", "user_profile_id", "workspace_id",
            ),
            name_loss(),
        ),
        "thread": READ,
        "container": refuse("does not know this container"),
        "inference_geo": refuse("cannot be told where data may go"),
        "mcp_servers": refuse("does not have this tool of another provider"),
    },
    "output_config": {
        "effort": READ,
        "format": read_inside("format"),
        "task_budget": name_loss("has no budget for a task"),
    },
    "format:json_schema": {**_TYPE, "schema": CARRIED},
    "thinking:enabled": {**_THINKING, "budget_tokens": READ},
    "thinking:adaptive": _THINKING,
    "thinking:disabled": _TYPE,
    "thinking:between_tools": _TYPE,
    "message": {
        "role": READ,
        "content": read_inside("block"),
        "clear_at": READ,
        "output_config": read_inside("message_config"),
    },
    "message_config": {"effort": name_loss("has one effort for all turns")},
    "cache": {
        "type": ignore("has one kind of breakpoint"),
        "ttl": ignore("gets no breakpoint, and the breakpoint is named"),
    },
    "block:text": {**_TYPE, **_CACHE, "text": READ, "citations": _NO_CITATIONS},
    "block:image": {
        **_TYPE,
        **_CACHE,
        "source": read_inside("source"),
        "transformations": name_loss("has no such control"),
    },
    "block:document": {
        **_TYPE,
        **_CACHE,
        "source": read_inside("source"),
        "title": READ,
        "context": name_loss("takes no context beside a document"),
        "citations": read_inside("citations"),
    },
    "citations": {"enabled": _NO_CITATIONS},
    "source:base64": {**_TYPE, "media_type": READ, "data": READ},
    "source:text": {**_TYPE, "media_type": ignore("gets plain text"), "data": READ},
    "source:url": {**_TYPE, "url": READ},
    "source:file": {**_TYPE, "file_id": READ},
    "source:content": {**_TYPE, "content": read_inside("source_block")},
    "source_block:text": {
        "type": ignore("gets one text"),
        "text": READ,
        "cache_control": _LOST_CACHE,
        "citations": _NO_CITATIONS,
    },
    "source_block:image": _BY_DECODER,
    "block:thinking": {
        **_TYPE,
        "thinking": ignore("gets no reasoning of another model, and the block is named"),
        "signature": ignore("gets no reasoning of another model, and the block is named"),
    },
    "block:redacted_thinking": {
        **_TYPE,
        "data": ignore("gets no reasoning of another model, and the block is named"),
    },
    "block:tool_use": {
        **_TYPE,
        "id": READ,
        "name": READ,
        "input": CARRIED,
        "cache_control": _LOST_CACHE,
        "caller": read_inside("caller"),
        "toolset_name": _NO_TOOLSET,
    },
    "caller": {
        "type": ignore("has no other callers than the model, and the id of a tool is named"),
        "tool_id": name_loss("has no other callers than the model"),
    },
    "block:tool_result": {
        **_TYPE,
        **_CACHE,
        "tool_use_id": READ,
        "content": read_inside("block"),
        "is_error": READ,
        "toolset_name": _NO_TOOLSET,
    },
    **{f"block:{kind}": _BY_DECODER for kind in sorted(hosted_tools.TYPES)},
    "block:tool_addition": _BY_DECODER,
    "block:tool_removal": _BY_DECODER,
    "tool:": _TOOL,
    "tool:custom": {**_TYPE, **_TOOL},
    **{f"tool:{kind}": _BY_DECODER for kind in _HOSTED_TOOLS},
    "choice:auto": _CHOICE,
    "choice:any": _CHOICE,
    "choice:tool": {**_CHOICE, "name": READ},
    "choice:none": _TYPE,
}  # fmt: skip
