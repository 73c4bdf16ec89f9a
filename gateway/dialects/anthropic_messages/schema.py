"""The known members of Messages requests and answers, and what translation does with them.

Sources: Anthropic's API reference and the beta types of its SDK, which have all members. `WHOLE`
stands for blocks and tools of the provider's own. `request_decoder` tells them as text, drops or
refuses them as a whole; of an answer, a client gets none of them.
"""

from gateway.dialects.anthropic_messages import hosted_tools
from gateway.dialects.beta_headers import BetaHeader
from gateway.dialects.member_list import (
    CARRIED,
    OTHER,
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
_NO_CITATIONS = name_loss("does not accept citations in a request")
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
    "allowed_callers": name_loss("has tools that only the model calls"),
    "defer_loading": name_loss("gets all tools at once"),
    "eager_input_streaming": name_loss("has no such control"),
    "input_examples": name_loss("does not accept examples of a tool's input"),
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
        "inference_geo": refuse("does not let a client choose where data goes"),
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
        "ttl": ignore("gets no breakpoint; the gateway reports that loss"),
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
        "context": name_loss("does not accept a context with a document"),
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
        "thinking": ignore("gets no reasoning of another model; the block counts as lost"),
        "signature": ignore("gets no reasoning of another model; the block counts as lost"),
    },
    "block:redacted_thinking": {
        **_TYPE,
        "data": ignore("gets no reasoning of another model; the block counts as lost"),
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
        "type": ignore("lets only the model call tools; the gateway reports the id of the tool"),
        "tool_id": name_loss("lets only the model call tools"),
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

_OF_PROVIDER = ignore("does not need details of the provider's work")
_ONE_KIND = ignore("has one kind of it")
_NO_PLACE = name_loss("has no place for it in an answer")
_SOURCE_IS_ENOUGH = ignore("identifies a source by its address")
_COUNTED_AS_TOOL = ignore("is billed for it as for a tool")
_TOKEN_COUNTS = {
    **dict.fromkeys(
        (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ),
        READ,
    ),
    "cache_creation": CARRIED,
}
_COUNTS_OF_OTHER_MODEL = {
    **_TYPE,
    **dict.fromkeys((*_TOKEN_COUNTS, "model"), _COUNTED_AS_TOOL),
}
_END_OF_MESSAGE = {
    "stop_reason": READ,
    "stop_sequence": READ,
    "stop_details": read_inside("stop_details"),
    "container": _NO_PLACE,
}
_EDITS = {
    "context_management": read_inside("context_management", path="message.context_management"),
    "input_transformations": read_inside(
        "input_transformation", path="message.input_transformations"
    ),
}
_MESSAGE = {
    **_END_OF_MESSAGE,
    **_EDITS,
    "id": READ,
    "model": READ,
    "usage": read_inside("usage", path="usage"),
    "diagnostics": read_inside("diagnostics"),
    "type": _ONE_KIND,
    "role": ignore("knows that the assistant answers"),
    **dict.fromkeys(("base_resp", "provider", "request_id"), _OF_PROVIDER),
}
_WEB_CITATION = {
    "type": _ONE_KIND,
    "url": READ,
    "title": READ,
    "cited_text": name_loss("does not accept words of a source"),
    "encrypted_index": ignore("sends no citations back"),
}
_CITED_DOCUMENT = dict.fromkeys(
    ("type", "cited_text", "document_index", "document_title", "file_id"), CARRIED
)
"""A citation without an address: encoders name all of it, if they have no such citations."""

ANSWER: MemberList = {
    "answer": {**_MESSAGE, "content": read_inside("block", path="content")},
    "event:message_start": {**_TYPE, "message": read_inside("start", path="message")},
    "start": {
        **_MESSAGE,
        "content": name_loss("gets content only after the start"),
        **dict.fromkeys(("stop_reason", "stop_sequence"), ignore("learns it at the end")),
    },
    "event:message_delta": {
        **_TYPE,
        **_EDITS,
        "delta": read_inside("end", path="message"),
        "usage": read_inside("usage", path="usage"),
    },
    "end": _END_OF_MESSAGE,
    "event:message_stop": {**_TYPE, "amazon-bedrock-invocationMetrics": _OF_PROVIDER},
    "event:content_block_start": {
        **_TYPE,
        "index": READ,
        "content_block": read_inside("block", path="content"),
    },
    "event:content_block_delta": {
        **_TYPE,
        "index": READ,
        "delta": read_inside("delta", path="content"),
    },
    "event:content_block_stop": {**_TYPE, "index": READ},
    "event:": {"type": _ONE_KIND},
    "event:ping": {WHOLE: ignore("gets a stream that is kept alive")},
    "event:vertex_event": {WHOLE: _OF_PROVIDER},
    "block:text": {
        **_TYPE,
        "text": READ,
        "citations": read_inside("citation", path="content.citations"),
    },
    "block:thinking": {**_TYPE, "thinking": READ, "signature": READ},
    "block:redacted_thinking": {**_TYPE, "data": READ},
    "block:tool_use": {
        **_TYPE,
        "id": READ,
        "name": READ,
        "input": CARRIED,
        "caller": read_inside("caller"),
        "toolset_name": _NO_TOOLSET,
    },
    "caller": {
        "type": ignore("lets only the model call tools; the gateway reports the id of the tool"),
        "tool_id": name_loss("lets only the model call tools"),
    },
    **{
        f"block:{kind}": _BY_DECODER
        for kind in sorted(hosted_tools.TYPES - hosted_tools.SOURCE_TYPES)
    },
    f"block:{OTHER}": _BY_DECODER,
    "delta:text_delta": {**_TYPE, "text": READ},
    "delta:thinking_delta": {
        **_TYPE,
        "thinking": READ,
        "estimated_tokens": ignore("gets the tokens of thinking in usage"),
    },
    "delta:signature_delta": {**_TYPE, "signature": READ},
    "delta:input_json_delta": {**_TYPE, "partial_json": READ},
    "delta:citations_delta": {
        **_TYPE,
        "citation": read_inside("citation", path="content.citations"),
    },
    "delta:compaction_delta": _BY_DECODER,
    f"delta:{OTHER}": _BY_DECODER,
    "citation:": _WEB_CITATION,
    "citation:web_search_result_location": _WEB_CITATION,
    "citation:search_result_location": {
        "type": _ONE_KIND,
        "source": READ,
        "title": READ,
        "cited_text": name_loss("does not accept words of a source"),
        **dict.fromkeys(
            ("search_result_index", "start_block_index", "end_block_index"), _SOURCE_IS_ENOUGH
        ),
    },
    "citation:char_location": {
        **_CITED_DOCUMENT,
        "start_char_index": CARRIED,
        "end_char_index": CARRIED,
    },
    "citation:page_location": {
        **_CITED_DOCUMENT,
        "start_page_number": CARRIED,
        "end_page_number": CARRIED,
    },
    "citation:content_block_location": {
        **_CITED_DOCUMENT,
        "start_block_index": CARRIED,
        "end_block_index": CARRIED,
    },
    "stop_details:refusal": {
        "type": ignore("learns from the finish reason that the model declines"),
        **dict.fromkeys(
            (
                "category", "explanation", "fallback_credit_token", "fallback_has_prefill_claim",
                "recommended_model",
            ),
            _NO_PLACE,
        ),
    },
    "context_management": {"applied_edits": _NO_PLACE},
    "input_transformation:thinking_dropped": {WHOLE: _NO_PLACE},
    "input_transformation:thinking_mismatch_allowed": {WHOLE: _NO_PLACE},
    "diagnostics": {"cache_miss_reason": _NO_PLACE},
    "usage": {
        **_TOKEN_COUNTS,
        "output_tokens_details": read_inside("output_details"),
        "iterations": read_inside("iteration"),
        **dict.fromkeys(
            (
                "service_tier", "speed", "inference_geo", "is_byok", "cost_in_usd_ticks",
                "num_search_queries", "num_sources_used", "citation_tokens",
                "prompt_audio_seconds", "search_context_size",
            ),
            READ,
        ),
        **dict.fromkeys(
            (
                "server_tool_use", "server_tool_use_details", "server_side_tool_usage_details",
                "cost", "cost_details",
            ),
            CARRIED,
        ),
        "fallback_credit": _NO_PLACE,
        "pydantic_ai_gateway": _OF_PROVIDER,
    },
    "output_details": {"thinking_tokens": READ},
    "iteration:message": {
        **_TYPE,
        **_TOKEN_COUNTS,
        "model": ignore("knows the model that answers"),
    },
    "iteration:compaction": {**_TYPE, **_TOKEN_COUNTS},
    "iteration:advisor_message": _COUNTS_OF_OTHER_MODEL,
    "iteration:fallback_message": _COUNTS_OF_OTHER_MODEL,
}  # fmt: skip
_HAS_MEMBERS = ignore("gets or loses each member of this beta separately")
_IS_USUAL = ignore("does so without a beta")
_OTHER_ENDPOINT = ignore("needs no beta of another endpoint")

BETA_HEADER = BetaHeader(
    "anthropic-beta",
    {
        **dict.fromkeys(
            (
                "advanced-tool-use-2025-11-20", "advisor-tool-2026-03-01",
                "cache-diagnosis-2026-04-07", "code-execution-2025-05-22", "compact-2026-01-12",
                "compact-2026-09-04", "computer-use-2024-10-22", "computer-use-2025-01-24",
                "computer-use-2025-11-24", "context-management-2025-06-27", "effort-2025-11-24",
                "extended-cache-ttl-2025-04-11", "fallback-credit-2026-06-01",
                "fallback-credit-2026-07-01", "fast-mode-2026-02-01", "files-api-2025-04-14",
                "inline-tools-2026-09-15", "mcp-client-2025-04-04", "mcp-client-2025-11-20",
                "mcp-client-2026-09-15", "mcp-servers-2025-12-04", "message-threads-2026-08-12",
                "mid-conversation-output-config-2026-07-01",
                "mid-conversation-system-clear-at-2026-08-21",
                "mid-conversation-tool-changes-2026-07-01", "output-128k-2025-02-19",
                "output-300k-2026-03-24", "pdfs-2024-09-25", "prompt-caching-2024-07-31",
                "prompt-caching-scope-2026-01-05", "search-results-2025-06-09",
                "server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01",
                "skills-2025-10-02", "structured-outputs-2025-11-13",
                "structured-outputs-2025-12-15", "task-budgets-2026-03-13",
                "thinking-binding-controls-2026-08-01", "thinking-display-updates-2026-08-18",
                "tool-examples-2025-10-29", "tool-search-tool-2025-10-19",
                "user-profiles-2026-03-24", "user-profiles-2026-08-18",
                "user-profiles-2026-09-04", "user-profiles-billing-2026-10-01",
                "web-search-2025-03-05",
            ),
            _HAS_MEMBERS,
        ),
        **dict.fromkeys(
            (
                "claude-code-20250219", "context-1m-2025-08-07",
                "fine-grained-tool-streaming-2025-05-14", "interleaved-thinking-2025-05-14",
                "oauth-2025-04-20", "token-efficient-tools-2025-02-19",
                "token-efficient-tools-2026-03-28",
            ),
            _IS_USUAL,
        ),
        **dict.fromkeys(
            (
                "admin-user-sign-out-2026-10-08", "agent-memory-2026-07-22",
                "analytics-usage-cost-2026-08-24", "ce-claude-code-managed-settings-2026-10-06",
                "ce-plugins-2026-09-01", "ce-user-management-2026-07-13", "dreaming-2026-04-21",
                "efs-2026-10-01", "experimental-claude-tag-2026-10-21",
                "google-managed-data-controls-2026-09-01", "managed-agents-2026-04-01",
                "mcp-tunnels-2026-06-22", "message-batches-2024-09-24",
                "spend-limit-reads-2026-09-26", "telemetry-destinations-2026-08-11",
                "token-counting-2024-11-01", "webhooks-2026-10-07",
            ),
            _OTHER_ENDPOINT,
        ),
        "dev-full-thinking-2025-05-14": name_loss("does not show all of its reasoning"),
        "model-context-window-exceeded-2025-08-26": name_loss("reports a full context otherwise"),
        "redact-thinking-2026-02-12": name_loss("cannot hide the text of its reasoning"),
        "thinking-token-count-2026-05-13": name_loss("does not count reasoning during the stream"),
    },
)  # fmt: skip
"""Betas that Anthropic's SDK and Claude Code ask for, and what translation does with them."""
