"""Messages requests that together have every member of the list."""

from gateway.dialects.anthropic_messages.schema import REQUEST
from gateway.dialects.member_list import WHOLE
from tests.dialects.request_strategies import PDF, PNG, SCHEMA, Object

_CACHE: Object = {"type": "ephemeral", "ttl": "1h"}
_TEXT: Object = {"type": "text", "text": "hello"}
_USER: Object = {"role": "user", "content": "hi"}
_TOOL: Object = {"name": "find", "description": "Finds.", "input_schema": SCHEMA, "strict": True}
_USE: Object = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"a": "b"}}
_IMAGE: Object = {"type": "base64", "media_type": "image/png", "data": PNG}


def ask(*messages: Object, **members: object) -> Object:
    """Return a request of these messages."""
    return {"model": "auto", "max_tokens": 4000, "messages": [*messages] or [_USER], **members}


def user(*blocks: Object) -> Object:
    """Return a user's message of these blocks."""
    return {"role": "user", "content": [*blocks]}


def assistant(*blocks: Object) -> Object:
    """Return an assistant's message of these blocks."""
    return {"role": "assistant", "content": [*blocks]}


def _list_words(name: str) -> list[str]:
    """List the type words of objects that have one decision for all of their members."""
    return [
        word
        for key, members in REQUEST.items()
        if WHOLE in members and (word := key.removeprefix(f"{name}:")) != key
    ]


REQUESTS: tuple[Object, ...] = (
    ask(
        user(
            {**_TEXT, "cache_control": _CACHE, "citations": [{"type": "char_location"}]},
            {
                "type": "image",
                "source": _IMAGE,
                "cache_control": _CACHE,
                "transformations": {"oversized_image": "downsize"},
            },
            {
                "type": "document",
                "title": "a.pdf",
                "context": "An old page.",
                "citations": {"enabled": True},
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "cache_control": _CACHE,
            },
        ),
        {
            "role": "system",
            "content": "Be kind.",
            "clear_at": "next_user_message",
            "output_config": {"effort": "low"},
        },
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "c2ln"},
            {
                **_USE,
                "cache_control": _CACHE,
                "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"},
                "toolset_name": "browser",
            },
            {"type": "tool_use", "id": "toolu_2", "name": "find", "input": {}},
        ),
        user(
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "two", "is_error": True},
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": [{**_TEXT, "cache_control": _CACHE}],
                "cache_control": _CACHE,
                "toolset_name": "browser",
            },
        ),
        system=[{**_TEXT, "cache_control": _CACHE}],
        tools=[
            {
                **_TOOL,
                "type": "custom",
                "cache_control": _CACHE,
                "allowed_callers": ["direct"],
                "defer_loading": True,
                "eager_input_streaming": True,
                "input_examples": [{"a": "b"}],
            },
            {**_TOOL, "name": "seek", "cache_control": _CACHE},
        ],
        tool_choice={"type": "tool", "name": "find", "disable_parallel_tool_use": True},
        thinking={
            "type": "enabled",
            "budget_tokens": 2000,
            "display": "summarized",
            "block_binding": {"prefix_mismatch_behavior": "error"},
        },
        output_config={
            "format": {"type": "json_schema", "schema": SCHEMA},
            "task_budget": {"type": "tokens", "total": 9000},
        },
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.5,
        top_k=4,
        service_tier="standard_only",
        metadata={"user_id": "u-1"},
        stream=True,
        cache_control=_CACHE,
        betas=["b"],
        billing_policy={"type": "billing_policy", "bill_to": "self"},
        compaction={"type": "summarize"},
        container="c-1",
        context_management={"edits": [{"type": "clear_thinking_20251015"}]},
        diagnostics={"previous_message_id": "msg_1"},
        fallback_credit_token={"token": "t"},
        fallbacks=[{"model": "claude-opus-5-5"}],
        inference_geo="us",
        mcp_servers=[{"type": "url", "name": "m", "url": "https://a.test"}],
        speed="fast",
        thread={"type": "create"},
        user_profile_id="p-1",
        workspace_id="w-1",
    ),
    ask(tools=[{"name": "find", "input_schema": SCHEMA, "input_examples": [{"a": "b"}]}]),
    ask(
        tools=[
            {
                **_TOOL,
                "allowed_callers": ["direct"],
                "defer_loading": True,
                "eager_input_streaming": True,
            }
        ]
    ),
    *(
        ask(user({**block, "cache_control": _CACHE}))
        for block in (
            _TEXT,
            {"type": "image", "source": _IMAGE},
            {"type": "document", "source": {"type": "text", "data": "words"}},
        )
    ),
    ask(
        assistant(_USE),
        user(
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": [_TEXT],
                "cache_control": _CACHE,
            }
        ),
    ),
    ask(user({"type": "image", "source": {**_IMAGE, "media_type": "image/webp", "data": "aGk="}})),
    ask(tools=[{**_TOOL, "cache_control": _CACHE}]),
    ask(tools=[{**_TOOL, "type": "custom", "cache_control": _CACHE}]),
    ask(thinking={"type": "adaptive", "display": "omitted"}, output_config={"effort": "low"}),
    ask(thinking={"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}}),
    ask(thinking={"type": "enabled", "budget_tokens": 2000, "display": "omitted"}),
    ask(thinking={"type": "disabled"}),
    ask(thinking={"type": "between_tools"}),
    ask(output_format={"type": "json_schema", "schema": SCHEMA}),
    *(
        ask(tools=[_TOOL], tool_choice={"type": kind, "disable_parallel_tool_use": True})
        for kind in ("auto", "any")
    ),
    ask(tools=[_TOOL], tool_choice={"type": "none"}),
    *(
        ask(user({"type": kind, "source": source}))
        for kind in ("image", "document")
        for source in (
            {"type": "url", "url": "https://a.test/a"},
            {"type": "file", "file_id": "file_1"},
        )
    ),
    *(
        ask(user({"type": "document", "source": source}))
        for source in (
            {"type": "text", "media_type": "text/plain", "data": "words"},
            {
                "type": "content",
                "content": [
                    {**_TEXT, "cache_control": _CACHE, "citations": [{"type": "char_location"}]}
                ],
            },
        )
    ),
    *(
        ask(_USER, assistant({"type": word, "id": "srvtoolu_1", "name": "x", "input": {}}), _USER)
        for word in _list_words("block")
    ),
    *(ask(tools=[{"type": word, "name": "x"}, _TOOL]) for word in _list_words("tool")),
    ask(
        user(
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [_TEXT, {"type": "image", "source": _IMAGE}],
                },
            }
        )
    ),
)
