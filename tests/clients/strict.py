"""A small validator for the requests of four labs, stricter than the labs are.

Sources: the request bodies in the API references of OpenAI, Anthropic and Google, and requests that
their APIs are known to refuse: calls without results, results without calls, blank text, turns out
of order, unknown members.
"""

import re
from collections.abc import Iterable, Mapping

from gateway.core import jsonio
from tests.clients.shape import (
    ANY,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Json,
    Shape,
    Wrong,
    by,
    either,
    filled,
    listed,
    need,
    record,
    word,
)  # fmt: skip
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES

EFFORTS = word("none", "minimal", "low", "medium", "high", "xhigh", "max")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GOOGLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


def name(value: Json, at: str) -> None:
    TEXT(value, at)
    need(_NAME.fullmatch(value), at, f"{value!r:.80} is no name")


def google_name(value: Json, at: str) -> None:
    TEXT(value, at)
    need(_GOOGLE_NAME.fullmatch(value), at, f"{value!r:.80} is no name")


def schema(value: Json, at: str) -> None:
    """Accept the parameters of a function."""
    OBJECT(value, at)
    need(value.get("type") == "object", at, "is no schema of an object")


def arguments(value: Json, at: str) -> None:
    """Accept the JSON of an object, as a string."""
    TEXT(value, at)
    try:
        OBJECT(jsonio.loads(value.encode()), at)
    except jsonio.JsonError:
        raise Wrong(f"{at}: {value!r:.80} is no JSON") from None


def same(calls: Iterable[str], results: Iterable[str], at: str) -> None:
    """Check that each call has one result, and each result a call."""
    called, given = list(calls), list(results)
    need(len(set(called)) == len(called), at, f"calls of one id: {called}")
    need(sorted(called) == sorted(given), at, f"calls {called}, results {given}")


# Chat Completions.

_FUNCTION = record(
    {"name": name}, {"description": TEXT, "parameters": schema, "strict": either(FLAG, word(None))}
)
_CHAT_TEXT = record({"type": word("text"), "text": filled})
_CHAT_PART = by(
    "type",
    {
        "text": _CHAT_TEXT,
        "image_url": record({"type": ANY, "image_url": record({"url": TEXT}, {"detail": TEXT})}),
        "file": record({"type": ANY, "file": record({}, {"file_data": TEXT, "filename": TEXT})}),
    },
)
_CHAT_CALL = record(
    {
        "id": name,
        "type": word("function"),
        "function": record({"name": name, "arguments": arguments}),
    }
)
_CHAT_MESSAGE = by(
    "role",
    {
        "system": record({"role": ANY, "content": either(filled, listed(_CHAT_TEXT, 1))}),
        "developer": record({"role": ANY, "content": either(filled, listed(_CHAT_TEXT, 1))}),
        "user": record({"role": ANY, "content": either(filled, listed(_CHAT_PART, 1))}),
        "assistant": record(
            {"role": ANY},
            {
                "content": either(filled, word(None), listed(_CHAT_TEXT, 1)),
                "tool_calls": listed(_CHAT_CALL, 1),
                "reasoning_content": filled,
            },
        ),
        "tool": record({"role": ANY, "tool_call_id": name, "content": either(TEXT, listed(_CHAT_TEXT, 1))}),
    },
)  # fmt: skip
_CHAT_CHOICE = either(
    word("auto", "none", "required"),
    record({"type": word("function"), "function": record({"name": name})}),
)
_CHAT_BODY = record(
    {"model": TEXT, "messages": listed(_CHAT_MESSAGE, 1)},
    {
        "stream": FLAG,
        "stream_options": record({"include_usage": FLAG}),
        "tools": listed(record({"type": word("function"), "function": _FUNCTION}), 1),
        "tool_choice": _CHAT_CHOICE,
        "parallel_tool_calls": FLAG,
        "max_completion_tokens": WHOLE,
        "reasoning_effort": EFFORTS,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "prompt_cache_key": TEXT,
        "user": name,
        "verbosity": TEXT,
        "response_format": OBJECT,
        "stop": listed(TEXT, 1),
        "metadata": OBJECT,
        "service_tier": TEXT,
    },
)


def chat(body: Json, _: str) -> None:
    _CHAT_BODY(body, "body")
    need(body.get("stream") or "stream_options" not in body, "stream_options", "without stream")
    calls: list[str] = []
    results: list[str] = []
    for number, message in enumerate(body["messages"]):
        at = f"messages.{number}"
        if message["role"] == "tool":
            results.append(message["tool_call_id"])
            continue
        same(calls, results, at)
        calls, results = [call["id"] for call in message.get("tool_calls", [])], []
        empty = message["role"] == "assistant" and not (message.get("content") or calls)
        need(not empty, at, "says nothing")
    same(calls, results, "messages")


# Responses.

_INPUT_TEXT = record({"type": word("input_text"), "text": filled})
_INPUT_PART = by(
    "type",
    {
        "input_text": _INPUT_TEXT,
        "output_text": record({"type": ANY, "text": filled}, {"annotations": ANY, "logprobs": ANY}),
        "input_image": record({"type": ANY, "image_url": TEXT}, {"detail": TEXT}),
        "input_file": record({"type": ANY, "filename": TEXT}, {"file_data": TEXT, "file_url": TEXT}),
    },
)  # fmt: skip
_MESSAGE = record(
    {
        "role": word("user", "assistant", "system", "developer"),
        "content": either(filled, listed(_INPUT_PART, 1)),
    },
    {"type": word("message"), "id": TEXT, "status": word("completed", "incomplete")},
)
_ITEM = by(
    "type",
    {
        None: _MESSAGE,
        "message": _MESSAGE,
        "reasoning": record(
            {"type": ANY, "summary": listed(record({"type": word("summary_text"), "text": TEXT}))},
            {"id": TEXT, "encrypted_content": filled},
        ),
        "function_call": record(
            {"type": ANY, "call_id": name, "name": name, "arguments": arguments}, {"id": TEXT}
        ),
        "function_call_output": record(
            {"type": ANY, "call_id": name, "output": either(TEXT, listed(_INPUT_PART, 1))}
        ),
        "custom_tool_call": record({"type": ANY, "call_id": name, "name": name, "input": TEXT}),
        "custom_tool_call_output": record({"type": ANY, "call_id": name, "output": TEXT}),
    },
)
_TOOL = by(
    "type",
    {
        "function": record(
            {"type": ANY, "name": name, "parameters": either(schema, word(None))},
            {"description": TEXT, "strict": either(FLAG, word(None))},
        ),
        "custom": record({"type": ANY, "name": name}, {"description": TEXT, "format": OBJECT}),
    },
)
_RESPONSES_BODY = record(
    {"model": TEXT, "input": either(filled, listed(_ITEM, 1))},
    {
        "instructions": filled,
        "stream": FLAG,
        "tools": listed(_TOOL, 1),
        "tool_choice": either(
            word("auto", "none", "required"), record({"type": word("function"), "name": name})
        ),
        "parallel_tool_calls": FLAG,
        "store": word(False),  # type: ignore[arg-type]  # the one value
        "include": listed(word("reasoning.encrypted_content")),
        "max_output_tokens": WHOLE,
        "reasoning": record({}, {"effort": EFFORTS, "summary": word("auto", "concise", "detailed")}),
        "temperature": NUMBER,
        "top_p": NUMBER,
        "prompt_cache_key": TEXT,
        "safety_identifier": name,
        "text": OBJECT,
        "metadata": OBJECT,
        "service_tier": TEXT,
    },
)  # fmt: skip


def responses(body: Json, _: str) -> None:
    _RESPONSES_BODY(body, "body")
    items = body["input"] if isinstance(body["input"], list) else []
    for kind in ("function_call", "custom_tool_call"):
        same(_ids(items, kind), _ids(items, f"{kind}_output"), "input")
    seen: set[str] = set()
    for item in items:
        if str(item.get("type")).endswith("_call"):
            seen.add(item["call_id"])
        elif str(item.get("type")).endswith("_output"):
            need(item["call_id"] in seen, "input", "a result stands before its call")


def _ids(items: Iterable[Json], kind: str) -> list[str]:
    return [it["call_id"] for it in items if it.get("type") == kind]


# Messages.

_CACHE = record({"type": word("ephemeral")}, {"ttl": word("5m", "1h")})
_MARK: Mapping[str, Shape] = {"cache_control": _CACHE}
_BLOCK_TEXT = record({"type": word("text"), "text": filled}, _MARK)
_IMAGE = record({"type": word("image"), "source": OBJECT}, _MARK)
_DOCUMENT = record({"type": word("document"), "source": OBJECT}, {**_MARK, "title": TEXT})
_SAID = by("type", {"text": _BLOCK_TEXT, "image": _IMAGE, "document": _DOCUMENT})
_USER_BLOCK = by(
    "type",
    {
        "text": _BLOCK_TEXT,
        "image": _IMAGE,
        "document": _DOCUMENT,
        "tool_result": record(
            {"type": ANY, "tool_use_id": name},
            {"content": either(filled, listed(_SAID, 1)), "is_error": FLAG, **_MARK},
        ),
    },
)
_ASSISTANT_BLOCK = by(
    "type",
    {
        "text": _BLOCK_TEXT,
        "thinking": record({"type": ANY, "thinking": TEXT, "signature": filled}),
        "redacted_thinking": record({"type": ANY, "data": filled}),
        "tool_use": record({"type": ANY, "id": name, "name": name, "input": OBJECT}, _MARK),
    },
)
_MESSAGES_MESSAGE = by(
    "role",
    {
        "user": record({"role": ANY, "content": either(filled, listed(_USER_BLOCK, 1))}),
        "assistant": record({"role": ANY, "content": either(filled, listed(_ASSISTANT_BLOCK, 1))}),
    },
)
_MESSAGES_BODY = record(
    {"model": TEXT, "max_tokens": WHOLE, "messages": listed(_MESSAGES_MESSAGE, 1)},
    {
        "system": either(filled, listed(_BLOCK_TEXT, 1)),
        "stream": FLAG,
        "tools": listed(
            record(
                {"name": name, "input_schema": schema},
                {"description": TEXT, "strict": FLAG, "type": word("custom"), **_MARK},
            ),
            1,
        ),
        "tool_choice": by(
            "type",
            {
                **dict.fromkeys(
                    ("auto", "any"), record({"type": ANY}, {"disable_parallel_tool_use": FLAG})
                ),
                "none": record({"type": ANY}),
                "tool": record({"type": ANY, "name": name}, {"disable_parallel_tool_use": FLAG}),
            },
        ),
        "thinking": by(
            "type",
            {
                "adaptive": record({"type": ANY}, {"display": word("summarized", "omitted")}),
                "disabled": record({"type": ANY}),
            },
        ),
        "output_config": record({}, {"effort": EFFORTS, "format": OBJECT}),
        "metadata": record({}, {"user_id": TEXT}),
        "stop_sequences": listed(filled, 1),
        "cache_control": _CACHE,
        "service_tier": word("auto", "standard_only"),
    },
)


def messages(body: Json, _: str) -> None:
    _MESSAGES_BODY(body, "body")
    calls: list[str] = []
    for number, message in enumerate(body["messages"]):
        at = f"messages.{number}"
        need(
            message["role"] == ("assistant" if number % 2 else "user"), at, "roles do not alternate"
        )
        blocks = message["content"] if isinstance(message["content"], list) else []
        kinds = [block["type"] for block in blocks]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        need("tool_result" not in kinds[len(results) :], at, "results do not stand first")
        if message["role"] == "user":
            same(calls, results, at)
            calls = []
        else:
            calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    need(not calls, "messages", f"calls without results: {calls}")
    marks = jsonio.dumps(body).count(b'"cache_control"')
    need(marks <= 4, "cache_control", f"{marks} breakpoints")


# Gemini.

_SIGNED: Mapping[str, Shape] = {"thoughtSignature": filled}
_PART = either(
    record({"text": TEXT}, {"thought": FLAG, **_SIGNED}),
    record({"inlineData": record({"mimeType": TEXT, "data": TEXT})}),
    record({"fileData": record({"fileUri": TEXT}, {"mimeType": TEXT})}),
    record({"functionResponse": record({"name": google_name, "response": OBJECT}, {"id": TEXT})}),
    record({"functionCall": record({"name": google_name}, {"args": OBJECT, "id": TEXT})}, _SIGNED),
)
_GEMINI_BODY = record(
    {"contents": listed(record({"role": word("user", "model"), "parts": listed(_PART, 1)}), 1)},
    {
        "systemInstruction": record({"parts": listed(record({"text": filled}), 1)}),
        "tools": listed(
            record(
                {
                    "functionDeclarations": listed(
                        record(
                            {"name": google_name},
                            {"description": TEXT, "parametersJsonSchema": schema},
                        ),
                        1,
                    )
                }
            ),
            1,
        ),
        "toolConfig": record(
            {
                "functionCallingConfig": record(
                    {"mode": word("AUTO", "ANY", "NONE", "VALIDATED")},
                    {"allowedFunctionNames": listed(google_name, 1)},
                )
            }
        ),
        "generationConfig": record(
            {},
            {
                "maxOutputTokens": WHOLE,
                "temperature": NUMBER,
                "topP": NUMBER,
                "topK": WHOLE,
                "stopSequences": listed(TEXT, 1),
                "responseMimeType": TEXT,
                "responseJsonSchema": OBJECT,
                "thinkingConfig": record(
                    {},
                    {
                        "thinkingLevel": word("MINIMAL", "LOW", "MEDIUM", "HIGH"),
                        "includeThoughts": FLAG,
                    },
                ),
            },
        ),
        "safetySettings": listed(OBJECT),
    },
)


def gemini(body: Json, _: str) -> None:
    _GEMINI_BODY(body, "body")
    need(body["contents"][0]["role"] == "user", "contents.0", "the user does not begin")
    calls: list[Json] = []
    for number, content in enumerate(body["contents"]):
        at = f"contents.{number}"
        if number:
            before = body["contents"][number - 1]["role"]
            need(before != content["role"], at, "roles do not alternate")
        parts = content["parts"]
        given = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if content["role"] == "user":
            same_names = _called(calls) == _called(given)
            need(same_names, at, f"calls {_called(calls)}, results {_called(given)}")
            calls = []
        else:
            need(not given, at, "the model gives results")
            call_parts = [part for part in parts if "functionCall" in part]
            calls = [part["functionCall"] for part in call_parts]
            need(
                not call_parts or "thoughtSignature" in call_parts[0],
                at,
                "a call without a signature",
            )
    need(not calls, "contents", "calls without results")


def _called(them: Iterable[Json]) -> list[tuple[str, str]]:
    return sorted((it["name"], it.get("id", "")) for it in them)


STRICT = {CHAT: chat, RESPONSES: responses, MESSAGES: messages, GEMINI: gemini}
"""Validators by dialect. Each raises Wrong."""
