"""Chat Completions requests that together have every member of the list."""

from tests.dialects.request_strategies import PDF, PNG, SCHEMA, Object

_CACHE: Object = {"type": "ephemeral", "mode": "explicit", "ttl": "1h"}
_CACHE_MARKS = ("cache_control", "prompt_cache_breakpoint")
_TEXT: Object = {"type": "text", "text": "hello"}
_IMAGE = f"data:image/png;base64,{PNG}"
_DOCUMENT = f"data:application/pdf;base64,{PDF}"
_FUNCTION: Object = {"name": "find", "description": "Finds.", "parameters": SCHEMA, "strict": True}
_USER: Object = {"role": "user", "content": "hi"}


def ask(*messages: Object, **members: object) -> Object:
    """Return a request of these messages."""
    return {"model": "auto", "messages": [*messages] or [_USER], **members}


def user(*parts: Object) -> Object:
    """Return a user's message of these parts."""
    return {"role": "user", "content": [*parts]}


REQUESTS: tuple[Object, ...] = (
    ask(
        {"role": "system", "content": [_TEXT], "name": "boss"},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look", "prompt_cache_breakpoint": _CACHE},
                {
                    "type": "image_url",
                    "image_url": {"url": _IMAGE, "detail": "low"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "well", "annotations": [{"type": "url_citation"}]},
                {"type": "refusal", "refusal": "no"},
            ],
            "refusal": "I will not.",
            "annotations": [{"type": "url_citation"}],
            "name": "bob",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "index": 0,
                    "function": {"name": "find", "arguments": '{"a": "b"}'},
                },
                {"id": "call_2", "type": "custom", "custom": {"name": "run", "input": "ls"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_2", "content": "two"},
        {"role": "tool", "tool_call_id": "call_1", "content": [_TEXT]},
        _USER,
        tools=[
            {"type": "function", "function": _FUNCTION, "cache_control": _CACHE},
            {"function": {**_FUNCTION, "name": "seek"}, "prompt_cache_breakpoint": _CACHE},
            {
                "type": "custom",
                "custom": {"name": "run", "description": "Runs.", "format": {"type": "grammar"}},
            },
        ],
        tool_choice={"type": "function", "function": {"name": "find"}},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True},
        },
        max_completion_tokens=4000,
        stop=["END"],
        temperature=0.5,
        top_p=0.5,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        top_k=4,
        seed=7,
        n=2,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"1": 2},
        verbosity="low",
        service_tier="flex",
        safety_identifier="u-1",
        metadata={"a": "b"},
        prompt_cache_key="k",
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        parallel_tool_calls=False,
        reasoning_effort="high",
        include_reasoning=True,
        store=True,
        audio={"voice": "alloy", "format": "wav"},
        modalities=["text", "audio"],
        moderation={"model": "m"},
        prediction={"type": "content", "content": "x"},
        prompt_cache_options={"mode": "explicit"},
        prompt_cache_retention="24h",
        web_search_options={"search_context_size": "low"},
    ),
    ask(max_tokens=30, random_seed=4, user="u-2"),
    ask(plugins=[{"id": "web"}], search_parameters={"mode": "on"}),
    ask(reasoning={"effort": "low", "exclude": False}),
    ask(reasoning={"max_tokens": 2000}),
    ask(reasoning={"enabled": False}),
    ask(thinking={"type": "enabled", "budget_tokens": 2000}),
    ask(thinking={"type": "disabled"}),
    ask(enable_thinking=True, thinking_budget=3000),
    ask(enable_thinking=False),
    ask(chat_template_kwargs={"enable_thinking": False}),
    ask(functions=[{**_FUNCTION, "cache_control": _CACHE}], function_call={"name": "find"}),
    ask(functions=[{**_FUNCTION, "prompt_cache_breakpoint": _CACHE}]),
    ask(
        _USER,
        {
            "role": "assistant",
            "function_call": {"name": "find", "arguments": "{}"},
            "reasoning": "hm",
        },
        {"role": "function", "name": "find", "content": "one"},
    ),
    ask(
        _USER,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "closed": True},
                {"type": "text", "text": "yes"},
            ],
        },
        _USER,
    ),
    ask(
        _USER,
        {
            "role": "assistant",
            "content": "yes",
            "reasoning_details": [{"type": "reasoning.text", "text": "so", "signature": "c2ln"}],
        },
        _USER,
    ),
    ask(
        _USER,
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "find", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
    ),
    ask(_USER, {"role": "assistant", "content": "It is", "prefix": True, "partial": True}),
    ask(_USER, {"role": "assistant", "content": "x", "reasoning_text": "hm"}, _USER),
    ask(_USER, {"role": "assistant", "content": "x", "audio": {"id": "audio_1"}}, _USER),
    *(
        ask(user({**part, mark: _CACHE}))
        for mark in _CACHE_MARKS
        for part in (
            _TEXT,
            {"type": "image_url", "image_url": {"url": _IMAGE}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": _DOCUMENT}},
            {"type": "video_url", "video_url": {"url": "https://youtu.be/a"}},
            {"type": "document_url", "document_url": _DOCUMENT, "document_name": "a"},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        )
    ),
    *(
        ask(tools=[{"type": kind, kind: {"name": "run"}, mark: _CACHE}])
        for kind in ("function", "custom")
        for mark in _CACHE_MARKS
    ),
    *(ask(tools=[{"function": {"name": "run"}, mark: _CACHE}]) for mark in _CACHE_MARKS),
    ask(user({"type": "file", "file": {"file_id": "file-1"}})),
    *(
        ask(tools=[{"type": "function", "function": _FUNCTION}], tool_choice=choice)
        for choice in (
            {"type": "tool", "name": "find"},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "find"}}],
                },
            },
        )
    ),
    ask(
        tools=[{"type": "custom", "custom": {"name": "run"}}],
        tool_choice={"type": "custom", "custom": {"name": "run"}},
    ),
    ask(response_format={"type": "text"}),
    ask(response_format={"type": "json_object"}),
    ask(
        response_format={
            "type": "json_schema", "name": "n", "description": "d", "schema": SCHEMA, "strict": True,
        }
    ),
)  # fmt: skip
