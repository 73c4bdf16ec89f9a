"""The known members of Chat Completions requests and answers, and what translation does with them.

Sources: OpenAI's API reference and the types of its SDK. Members that hosts have beside them:
Mistral, DeepSeek, Moonshot, Z.ai, DashScope, OpenRouter, Together, Perplexity and vLLM.
"""

from gateway.dialects.beta_headers import BetaHeader
from gateway.dialects.member_list import (
    CARRIED,
    OTHER,
    READ,
    WHOLE,
    MemberList,
    ignore,
    name_loss,
    read_inside,
    refuse,
)

_NO_CONTROL = name_loss("has no such control")
_CACHE = {
    "cache_control": read_inside("cache"),
    "prompt_cache_breakpoint": read_inside("cache"),
}
_TYPE = {"type": READ}
_FUNCTION = {"name": READ, "description": READ, "parameters": CARRIED, "strict": READ}
_FUNCTION_TOOL = {**_TYPE, **_CACHE, "function": read_inside("function")}
_JSON_SCHEMA = {"name": READ, "description": READ, "schema": CARRIED, "strict": READ}
_NO_CITATIONS = name_loss("does not accept citations in a request")
_FIXED_CACHE_MODE = ignore("has one kind of breakpoint")
_NO_HOSTED_TOOL = refuse("does not have this tool of another provider")

REQUEST: MemberList = {
    "request": {
        **dict.fromkeys(
            (
                "model", "max_completion_tokens", "max_tokens", "stop", "temperature", "top_p",
                "presence_penalty", "frequency_penalty", "top_k", "seed", "top_logprobs",
                "random_seed", "n", "logprobs", "logit_bias", "verbosity", "service_tier",
                "safety_identifier", "user", "metadata", "prompt_cache_key", "stream",
                "parallel_tool_calls", "reasoning_effort", "thinking_budget", "enable_thinking",
                "include_reasoning",
            ),
            READ,
        ),
        "chat_template_kwargs": CARRIED,
        "messages": read_inside("message"),
        "tools": read_inside("tool"),
        "functions": read_inside("old_function"),
        "tool_choice": read_inside("choice"),
        "function_call": read_inside("named"),
        "response_format": read_inside("format"),
        "stream_options": read_inside("stream_options"),
        "reasoning": read_inside("reasoning"),
        "thinking": read_inside("thinking"),
        **dict.fromkeys(
            (
                "moderation", "prompt_cache_options", "prompt_cache_retention", "store",
            ),
            name_loss(),
        ),
        "modalities": READ,
        "audio": refuse("gives no audio"),
        "prediction": refuse("does not accept predicted output"),
        **dict.fromkeys(
            ("web_search_options", "search_parameters", "plugins"), _NO_HOSTED_TOOL
        ),
    },
    "stream_options": {
        "include_usage": READ,
        "include_obfuscation": ignore("gets a stream of its own dialect, without padding"),
    },
    "reasoning": dict.fromkeys(("effort", "max_tokens", "enabled", "exclude"), READ),
    "thinking": dict.fromkeys(("type", "budget_tokens"), READ),
    "message": {
        "role": READ,
        "content": read_inside("part"),
        "name": READ,
        "refusal": READ,
        "tool_calls": read_inside("tool_call"),
        "tool_call_id": READ,
        "function_call": read_inside("called_function"),
        "audio": CARRIED,
        "reasoning_content": READ,
        "reasoning": READ,
        "reasoning_text": READ,
        "reasoning_details": CARRIED,
        "annotations": _NO_CITATIONS,
        "prefix": ignore("continues a last turn of the assistant without being told"),
        "partial": ignore("continues a last turn of the assistant without being told"),
    },
    "part:text": {**_TYPE, **_CACHE, "text": READ, "annotations": _NO_CITATIONS},
    "part:refusal": {**_TYPE, "refusal": READ},
    "part:thinking": {
        **_TYPE,
        "thinking": ignore("gets no reasoning of another model; the part counts as lost"),
        "closed": ignore("gets no reasoning of another model; the part counts as lost"),
    },
    "part:image_url": {**_TYPE, **_CACHE, "image_url": read_inside("link")},
    "part:video_url": {**_TYPE, **_CACHE, "video_url": read_inside("link")},
    "part:document_url": {
        **_TYPE,
        **_CACHE,
        "document_url": read_inside("link"),
        "document_name": name_loss("has names for files only"),
    },
    "part:input_audio": {**_TYPE, **_CACHE, "input_audio": read_inside("sound")},
    "part:file": {**_TYPE, **_CACHE, "file": read_inside("file")},
    "link": {"url": READ, "detail": READ},
    "sound": {"data": READ, "format": READ},
    "file": {"filename": READ, "file_id": READ, "file_data": READ},
    "cache": {"ttl": READ, "type": _FIXED_CACHE_MODE, "mode": _FIXED_CACHE_MODE},
    "tool_call": {
        **_TYPE,
        "id": READ,
        "function": read_inside("called_function"),
        "custom": read_inside("called_custom"),
        "extra_content": CARRIED,
        "index": ignore("has calls in their order"),
    },
    "called_function": {"name": READ, "arguments": CARRIED},
    "called_custom": {"name": READ, "input": READ},
    "tool:function": _FUNCTION_TOOL,
    "tool:": {**_CACHE, "function": read_inside("function")},
    "tool:custom": {**_TYPE, **_CACHE, "custom": read_inside("custom")},
    "function": _FUNCTION,
    "old_function": {**_FUNCTION, **_CACHE},
    "custom": {"name": READ, "description": READ, "format": CARRIED},
    "choice:function": {**_TYPE, "function": read_inside("named")},
    "choice:custom": {**_TYPE, "custom": read_inside("named")},
    "choice:tool": {**_TYPE, "name": READ},
    "choice:allowed_tools": {**_TYPE, "allowed_tools": read_inside("allowed_tools")},
    "allowed_tools": {"mode": READ, "tools": CARRIED},
    "named": {"name": READ},
    "format:text": _TYPE,
    "format:json_object": _TYPE,
    "format:json_schema": {**_TYPE, **_JSON_SCHEMA, "json_schema": read_inside("json_schema")},
    "json_schema": _JSON_SCHEMA,
}  # fmt: skip

_NO_PLACE = name_loss("has no place for it in an answer")
_OTHER_LOG_PROBABILITIES = name_loss("has log probabilities in another form")
_ECHO = ignore("does not need its own request back")
_OF_PROVIDER = ignore("does not need details of the provider's work")
_NO_PADDING = ignore("gets a stream of its own dialect, without padding")
_SAFETY = ignore("learns from the finish reason what a filter withheld")
_REPEATED = ignore("gets the same from another member")
_IN_THEIR_ORDER = ignore("has them in their order")
_MEDIA_TOKENS = {
    **dict.fromkeys(("audio_tokens", "image_tokens", "video_tokens"), READ),
    "text_tokens": ignore("counts the rest as text"),
}
_CACHED_MEDIA_TOKENS = {**_MEDIA_TOKENS, "text_tokens": READ}
_COMMON = {
    **dict.fromkeys(("id", "created", "model", "service_tier"), READ),
    "usage": read_inside("usage"),
    "x_groq": read_inside("x_groq"),
    "cost": read_inside("cost"),
    "search_results": read_inside("source"),
    "citations": CARRIED,
    **dict.fromkeys(("images", "related_questions", "videos", "moderation"), _NO_PLACE),
    "object": ignore("has its own word for it"),
    **dict.fromkeys(("metadata", "stream_options", "venice_parameters"), _ECHO),
    **dict.fromkeys(("obfuscation", "p"), _NO_PADDING),
    "prompt_filter_results": _SAFETY,
    **dict.fromkeys(
        (
            "system_fingerprint",
            "provider",
            "generationId",
            "request_id",
            "sla_metrics",
            "time_info",
            "timings",
            "latency_checkpoint",
            "usage_breakdown",
            "copilot_usage",
        ),
        _OF_PROVIDER,
    ),
}
_COMMON_CHOICE = {
    "index": READ,
    "finish_reason": READ,
    "logprobs": read_inside("logprobs"),
    "usage": read_inside("usage"),
    "content_filter_results": _SAFETY,
    **dict.fromkeys(
        ("finish_details", "native_finish_reason", "matched_stop", "stop_reason", "text"),
        _REPEATED,
    ),
    "seed": _ECHO,
}
_ANSWER_MESSAGE = read_inside("message", path="message")

ANSWER: MemberList = {
    "answer": {**_COMMON, "choices": read_inside("choice")},
    "event": {**_COMMON, "choices": read_inside("piece")},
    "choice": {**_COMMON_CHOICE, "message": _ANSWER_MESSAGE, "delta": _REPEATED},
    "piece": {**_COMMON_CHOICE, "delta": _ANSWER_MESSAGE, "message": _REPEATED},
    "message": {
        "content": read_inside("part"),
        **dict.fromkeys(("refusal", "reasoning_content", "reasoning", "reasoning_text"), READ),
        "reasoning_details": CARRIED,
        "tool_calls": read_inside("tool_call"),
        "function_call": read_inside("called_function"),
        "annotations": read_inside("annotation"),
        "audio": read_inside("audio"),
        "images": read_inside("image"),
        "executed_tools": _NO_PLACE,
        "role": ignore("knows that the assistant answers"),
        "index": _IN_THEIR_ORDER,
        **dict.fromkeys(("obfuscation", "padding"), _NO_PADDING),
        **dict.fromkeys(
            ("channel", "final_text_preview", "name", "provider_metadata", "token_id"),
            _OF_PROVIDER,
        ),
    },
    "part:text": {**_TYPE, "text": READ},
    "part:thinking": {**_TYPE, "thinking": CARRIED, "closed": _REPEATED},
    "part:image_url": {**_TYPE, "image_url": read_inside("link")},
    f"part:{OTHER}": {WHOLE: READ},
    "image": {
        "image_url": read_inside("link"),
        "type": ignore("has one kind of picture"),
        "index": _IN_THEIR_ORDER,
    },
    "link": {"url": READ},
    "tool_call": {
        **_TYPE,
        "id": READ,
        "index": READ,
        "function": read_inside("called_function"),
        "custom": read_inside("called_custom"),
        "extra_content": CARRIED,
    },
    "called_function": {"name": READ, "arguments": CARRIED},
    "called_custom": {"name": READ, "input": READ},
    "audio": {
        **dict.fromkeys(("id", "data", "transcript"), READ),
        "expires_at": ignore("does not keep speech"),
    },
    "annotation": {
        "type": ignore("has one kind of citation"),
        "url_citation": read_inside("url_citation"),
    },
    "url_citation": dict.fromkeys(("url", "title", "start_index", "end_index"), READ),
    "logprobs": {
        "content": CARRIED,
        "refusal": CARRIED,
        **dict.fromkeys(
            ("tokens", "token_logprobs", "token_ids", "top_logprobs"), _OTHER_LOG_PROBABILITIES
        ),
    },
    "source": {
        "url": READ,
        "title": READ,
        **dict.fromkeys(
            ("date", "last_updated", "snippet", "source", "place_metadata"),
            name_loss("gets the address and the title of a source"),
        ),
    },
    "usage": {
        **dict.fromkeys(
            (
                "prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens",
                "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens",
                "num_cached_tokens", "cache_creation_input_tokens", "image_tokens", "service_tier",
                "num_search_queries", "num_sources_used", "citation_tokens",
                "prompt_audio_seconds", "search_context_size", "market_cost", "is_byok",
                "cost_in_usd_ticks",
            ),
            READ,
        ),
        **dict.fromkeys(
            (
                "cache_creation", "cost", "cost_details", "server_tool_use",
                "server_tool_use_details", "server_side_tool_usage_details",
            ),
            CARRIED,
        ),
        "prompt_tokens_details": read_inside("prompt_details"),
        "completion_tokens_details": read_inside("completion_details"),
        "prompt_cache_miss_tokens": _REPEATED,
        "audio_prompt_tokens": _REPEATED,
        **dict.fromkeys(
            (
                "queue_time", "prompt_time", "completion_time", "total_time",
                "avg_compl_tok_per_sec", "avg_prompt_tok_per_sec", "avg_tok_per_sec",
                "total_completion_time_sec", "total_prompt_time_sec", "total_time_sec",
                "draft_tokens", "draft_tokens_acceptance", "latency_checkpoint",
                "prompt_tokens_per_second", "time_per_output_token_ms", "time_to_first_token_ms",
                "tokens_per_second", "pydantic_ai_gateway",
            ),
            _OF_PROVIDER,
        ),
    },
    "prompt_details": {
        **dict.fromkeys(("cached_tokens", "cache_write_tokens"), READ),
        "cached_tokens_details": read_inside("cached_details"),
        "cache_write_tokens_details": CARRIED,
        **_MEDIA_TOKENS,
    },
    "cached_details": _CACHED_MEDIA_TOKENS,
    "completion_details": {
        "reasoning_tokens": READ,
        **_MEDIA_TOKENS,
        **dict.fromkeys(
            ("accepted_prediction_tokens", "rejected_prediction_tokens"),
            ignore("counts them among all of the output"),
        ),
    },
    "x_groq": {
        "usage": read_inside("usage"),
        **dict.fromkeys(("id", "seed", "usage_breakdown"), _OF_PROVIDER),
    },
    "cost": {"usd": READ, "diem": ignore("counts in dollars")},
}  # fmt: skip
BETA_HEADER = BetaHeader("openai-beta", {})
"""OpenAI's SDK has no beta of Chat Completions: translation names every word as a loss."""
