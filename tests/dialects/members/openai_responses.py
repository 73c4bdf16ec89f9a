"""Responses requests that together have every member of the list."""

from gateway.dialects import reasoning_state
from gateway.dialects.member_list import WHOLE
from gateway.dialects.openai_responses.schema import REQUEST
from tests.dialects.cases import target
from tests.dialects.request_strategies import PDF, PNG, SCHEMA, Object

_CACHE: Object = {"mode": "explicit", "ttl": "12h"}
_TEXT: Object = {"type": "input_text", "text": "hello", "prompt_cache_breakpoint": _CACHE}
_IMAGE = f"data:image/png;base64,{PNG}"
_DOCUMENT = f"data:application/pdf;base64,{PDF}"
_PROGRAM: Object = {"type": "program", "caller_id": "prog_1"}
_USER: Object = {"role": "user", "content": "hi"}
_AGENT: Object = {"agent_name": "/root/finder"}
_STATE = reasoning_state.write_label(
    reasoning_state.hash_maker(target("anthropic-messages"), "anthropic-messages"), "c2ln"
)
"""A state that a target of another dialect gets back, because it made the state."""
_PLAIN_TOOL: Object = {"type": "function", "name": "find"}
_TOOL_WISHES: Object = {"allowed_callers": ["direct"], "async": True, "defer_loading": True}
_FUNCTION: Object = {
    "type": "function", "name": "find", "description": "Finds.", "parameters": SCHEMA,
    "strict": True, "output_schema": SCHEMA, **_TOOL_WISHES,
}  # fmt: skip
_CUSTOM: Object = {
    "type": "custom", "name": "run", "description": "Runs.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}, **_TOOL_WISHES,
}  # fmt: skip
_CALL: Object = {
    "type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1",
    "name": "find", "namespace": "web", "arguments": '{"a": "b"}', "caller": _PROGRAM,
    "async": True, "agent": _AGENT,
}  # fmt: skip
_RESULT: Object = {
    "type": "function_call_output", "id": "fco_1", "status": "completed", "call_id": "call_1",
    "name": "find", "namespace": "web", "output": [_TEXT], "caller": _PROGRAM,
    "agent": _AGENT,
}  # fmt: skip
_CUSTOM_CALL: Object = {
    "type": "custom_tool_call", "call_id": "call_2", "name": "run", "namespace": "web",
    "input": "ls",
}  # fmt: skip
_CUSTOM_RESULT: Object = {
    "type": "custom_tool_call_output", "call_id": "call_2", "output": "two",
}  # fmt: skip
_FORM: Object = {
    "type": "json_schema", "name": "n", "description": "d", "schema": SCHEMA, "strict": True,
}  # fmt: skip


def ask(*items: Object, **members: object) -> Object:
    """Return a request of these input items."""
    return {"model": "auto", "input": [*items] or [_USER], **members}


def user(*parts: Object) -> Object:
    """Return a user's message of these parts."""
    return {"type": "message", "role": "user", "content": [*parts]}


def _list_words(name: str) -> list[str]:
    """List the type words of objects of a name."""
    return [key.removeprefix(f"{name}:") for key in REQUEST if key.startswith(f"{name}:")]


REQUESTS: tuple[Object, ...] = (
    ask(
        {
            "role": "developer", "content": [_TEXT], "id": "msg_0", "status": "completed",
            "agent": _AGENT,
        },
        user(
            _TEXT,
            {
                "type": "input_image", "image_url": _IMAGE, "detail": "low",
                "prompt_cache_breakpoint": _CACHE,
            },
            {
                "type": "input_file", "file_data": _DOCUMENT, "filename": "a.pdf",
                "detail": "low", "prompt_cache_breakpoint": _CACHE,
            },
        ),
        {
            "type": "reasoning", "id": "rs_1", "status": "completed", "encrypted_content": _STATE,
            "summary": [{"type": "summary_text", "text": "so"}], "agent": _AGENT,
        },
        {
            "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "phase": "commentary", "agent": _AGENT,
            "content": [
                {
                    "type": "output_text", "text": "well", "logprobs": [{"token": "well"}],
                    "annotations": [{"type": "url_citation"}],
                    "prompt_cache_breakpoint": _CACHE,
                },
                {"type": "refusal", "refusal": "no"},
            ],
        },
        _CALL,
        {
            **_CUSTOM_CALL, "id": "ctc_1", "status": "completed", "caller": _PROGRAM,
            "async": True, "agent": _AGENT,
        },
        _RESULT,
        {
            **_CUSTOM_RESULT, "id": "cto_1", "status": "completed", "caller": _PROGRAM,
            "agent": _AGENT,
        },
        {"role": "assistant", "content": "done", "phase": "final_answer"},
        user({"type": "text", "text": "go on", "prompt_cache_breakpoint": _CACHE}),
        {
            "type": "additional_tools", "id": "at_1", "status": "completed", "role": "developer",
            "tools": [{**_FUNCTION, "name": "seek"}], "agent": _AGENT,
        },
        tools=[
            _FUNCTION,
            _CUSTOM,
            {"type": "namespace", "name": "web", "description": "Web.", "tools": [_FUNCTION]},
        ],
        tool_choice={"type": "function", "name": "find", "namespace": "web"},
        text={"format": _FORM, "verbosity": "low"},
        reasoning={
            "effort": "high", "summary": "auto", "context": "all_turns", "mode": "pro",
        },
        instructions="Be brief.",
        parallel_tool_calls=False,
        max_output_tokens=4000,
        temperature=0.5,
        top_p=0.5,
        top_logprobs=2,
        service_tier="flex",
        metadata={"a": "b"},
        prompt_cache_key="k",
        stream=True,
        stream_options={"include_obfuscation": True},
        include=["file_search_call.results"],
        safety_identifier="u-1",
        user="u-2",
        truncation="auto",
        access_programs={"cyber": "standard"},
        background_options={"completion_window": "2h"},
        context_management=[{"type": "compaction"}],
        image={"context_compression": "auto"},
        max_tool_calls=2,
        moderation={"model": "m"},
        prompt_cache_options={"mode": "explicit"},
        prompt_cache_retention="24h",
        store=True,
    ),
    ask(multi_agent={"enabled": True, "max_concurrent_subagents": 2}),
    ask(previous_response_id="resp_1"),
    ask(conversation="conv_1"),
    ask(background=True),
    ask(prompt={"id": "pmpt_1"}),
    ask(reasoning={"generate_summary": "auto"}),
    ask(text={"format": {"type": "text"}}),
    ask(text={"format": {"type": "json_object"}}),
    ask(
        {
            "type": "reasoning", "encrypted_content": _STATE,
            "content": [{"type": "reasoning_text", "text": "so"}],
        },
        {"role": "assistant", "content": "x"},
        _USER,
    ),
    ask({**_CALL, "caller": {"type": "direct"}}, {**_RESULT, "output": "one"}),
    ask({**_CUSTOM_CALL, "caller": _PROGRAM}, _CUSTOM_RESULT),
    ask(_CUSTOM_CALL, {**_CUSTOM_RESULT, "caller": _PROGRAM}),
    ask({**_CUSTOM_RESULT, "output": [_TEXT]}),
    ask(user({"type": "input_image", "image_url": _IMAGE, "prompt_cache_breakpoint": _CACHE})),
    ask(user({"type": "input_image", "file_id": "file-1"})),
    ask(user({"type": "input_file", "file_id": "file-1"})),
    ask(user({"type": "input_file", "file_url": "https://a.test/a.pdf"})),
    ask(user({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}})),
    *(
        ask(tools=[_PLAIN_TOOL, _CUSTOM], tool_choice=choice)
        for choice in (
            {"type": "custom", "name": "run", "namespace": "web"},
            {"type": "allowed_tools", "mode": "required", "tools": [_PLAIN_TOOL]},
        )
    ),
    *(
        ask(_USER, {"type": word, "id": "it_1", "action": {"query": "q"}}, _USER)
        for word in _list_words("item")
        if WHOLE in REQUEST[f"item:{word}"]
    ),
    *(
        ask(tools=[{"type": word}, _PLAIN_TOOL])
        for word in _list_words("tool")
        if WHOLE in REQUEST[f"tool:{word}"]
    ),
    *(
        ask(tools=[_PLAIN_TOOL], tool_choice={"type": word})
        for word in _list_words("choice")
        if WHOLE in REQUEST[f"choice:{word}"]
    ),
)  # fmt: skip
