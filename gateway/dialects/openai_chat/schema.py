"""Every member of a Chat Completions request that is known, and what translation does with it.

Sources: OpenAI's API reference and the types of its SDK. Members that hosts have beside them:
Mistral, DeepSeek, Moonshot, Z.ai, DashScope, OpenRouter, Together, Perplexity and vLLM.
"""

from gateway.dialects.member_list import (
    CARRIED,
    READ,
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
_NO_CITATIONS = name_loss("takes no citations in what it is asked")
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
        "prediction": refuse("takes no predicted output"),
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
        "thinking": ignore("gets no reasoning of another model, and the part is named"),
        "closed": ignore("gets no reasoning of another model, and the part is named"),
    },
    "part:image_url": {**_TYPE, **_CACHE, "image_url": read_inside("link")},
    "part:video_url": {**_TYPE, **_CACHE, "video_url": read_inside("link")},
    "part:document_url": {
        **_TYPE,
        **_CACHE,
        "document_url": read_inside("link"),
        "document_name": name_loss("takes no names but of files"),
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
