"""Four labs with one dialect each, their scripted answers, and the four SDKs that call them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types

from gateway.core import jsonio
from tests.e2e.upstream import SSE, Answer, Request
from tests.e2e.world import Config, World

type Json = dict[str, Any]

CHAT, RESPONSES, MESSAGES, GEMINI = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini",
)  # fmt: skip
ENDPOINTS = {CHAT: "/chat", RESPONSES: "/responses", MESSAGES: "/messages", GEMINI: "/gemini"}
DIALECTS = tuple(ENDPOINTS)
TEXT = "Hello you."
THOUGHT = "They greet."
ARGUMENTS = {"city": "Zürich", "days": 2}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
COUNTS = (7, 3)
"""Input and output tokens of every answer."""
FINISH = {
    CHAT: "finish_reason", RESPONSES: "status", MESSAGES: "stop_reason", GEMINI: "finishReason",
}  # fmt: skip
"""The member that says why an answer ended."""


def four(value: Config) -> None:
    """Configure one lab for each dialect, named after it."""
    base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
    auth = {CHAT: "bearer", RESPONSES: "bearer", MESSAGES: "x-api-key", GEMINI: "x-goog-api-key"}
    value["aliases"] = {}
    value["providers"] = {
        name: {
            "base_url": base,
            "dialects": {name: endpoint},
            "auth": auth[name],
            "accounts": {"main": f"secret-of-{name}"},
        }
        for name, endpoint in ENDPOINTS.items()
    }
    value["labs"] = {name: {"smart": [{"model": f"m-{name}"}]} for name in ENDPOINTS}
    value["models"] = {f"m-{name}": {"price": {"input": 1, "output": 4}} for name in ENDPOINTS}
    value["default"] = {"lab": CHAT, "tier": "smart"}


@dataclass(frozen=True)
class ParsedAnswer:
    """The answer as an SDK parsed it."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Names and arguments, as canonical JSON."""
    finish: str = "stop"
    """stop, length or tools."""
    counts: tuple[int, int] | None = None


def canonical(arguments: Any) -> str:
    value = jsonio.loads(arguments.encode()) if isinstance(arguments, str) else arguments
    return jsonio.dumps(dict(sorted(value.items()))).decode()


# Answers of the providers.


def answer(dialect: str, *, tools: bool = False, stream: bool = False, cut: int = 0) -> Answer:
    """Build an answer with text or a tool call; `cut` drops that many frames from the end."""
    value = _WHOLES[dialect](tools)
    if not stream:
        return whole(value)
    frames = _STREAMS[dialect](value, tools)
    return Answer(pieces=tuple(frames[: len(frames) - cut]), headers=SSE, bill=COUNTS)


def _chat(tools: bool) -> Json:
    call = {"name": "weather", "arguments": jsonio.dumps(ARGUMENTS).decode()}
    calls = [{"id": "call_1", "type": "function", "function": call}]
    content: Json = {"content": None, "tool_calls": calls} if tools else {"content": TEXT}
    message = {"role": "assistant", **content}
    return {
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "served-chat",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }  # fmt: skip


def _chat_stream(whole: Json, tools: bool) -> list[bytes]:
    head = {**{k: whole[k] for k in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    if tools:
        (call,) = whole["choices"][0]["message"]["tool_calls"]
        arguments = call["function"]["arguments"]
        first = {**call, "index": 0, "function": {"name": "weather", "arguments": ""}}
        deltas += [{"tool_calls": [first]}]
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
            for part in _split(arguments)
        ]
    else:
        deltas += [{"content": part} for part in _split(TEXT)]
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    finish = whole["choices"][0]["finish_reason"]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({**head, "choices": [], "usage": whole["usage"]})
    return [*(b"data: " + jsonio.dumps(chunk) + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]


def _split(text: str) -> list[str]:
    return [text[:4], text[4:7], text[7:]]


def _messages(tools: bool) -> Json:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": ARGUMENTS}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "served-messages",
        "content": [use if tools else {"type": "text", "text": TEXT}],
        "stop_reason": "tool_use" if tools else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }  # fmt: skip


def _event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + jsonio.dumps({"type": kind, **more}) + b"\n\n"


def _messages_stream(whole: Json, tools: bool) -> list[bytes]:
    block = whole["content"][0]
    empty = {**block, "input": {}} if tools else {**block, "text": ""}
    content = jsonio.dumps(ARGUMENTS).decode() if tools else TEXT
    kind, name = ("input_json_delta", "partial_json") if tools else ("text_delta", "text")
    return [
        _event("message_start", message={**whole, "content": [], "stop_reason": None}),
        _event("content_block_start", index=0, content_block=empty),
        *(_event("content_block_delta", index=0, delta={"type": kind, name: part}) for part in _split(content)),
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": whole["stop_reason"], "stop_sequence": None}, usage=whole["usage"]),
        _event("message_stop"),
    ]  # fmt: skip


def _responses(tools: bool) -> Json:
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
        "arguments": jsonio.dumps(ARGUMENTS).decode(), "status": "completed",
    }  # fmt: skip
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "served-responses",
        "output": [call if tools else message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": 7, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 10,
        },
    }  # fmt: skip


def _responses_stream(whole: Json, tools: bool) -> list[bytes]:
    item = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    content = item["arguments"] if tools else TEXT
    where = {"item_id": item["id"], "output_index": 0}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    if tools:
        start = {**item, "arguments": "", "status": "in_progress"}
        events += [
            {"type": "response.output_item.added", "output_index": 0, "item": start},
            *({"type": "response.function_call_arguments.delta", **where, "delta": part} for part in _split(content)),
            {"type": "response.function_call_arguments.done", **where, "name": "weather", "arguments": content},
        ]  # fmt: skip
    else:
        start = {**item, "content": [], "status": "in_progress"}
        at = {**where, "content_index": 0}
        empty = {**item["content"][0], "text": ""}
        events += [
            {"type": "response.output_item.added", "output_index": 0, "item": start},
            {"type": "response.content_part.added", **at, "part": empty},
            *({"type": "response.output_text.delta", **at, "delta": part, "logprobs": []} for part in _split(content)),
            {"type": "response.output_text.done", **at, "text": content, "logprobs": []},
            {"type": "response.content_part.done", **at, "part": item["content"][0]},
        ]  # fmt: skip
    events += [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return [
        f"event: {event['type']}\ndata: ".encode()
        + jsonio.dumps({**event, "sequence_number": number})
        + b"\n\n"
        for number, event in enumerate(events)
    ]


def _gemini(tools: bool) -> Json:
    part: Json = {"functionCall": {"name": "weather", "args": ARGUMENTS}} if tools else {"text": TEXT}  # fmt: skip
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
        "modelVersion": "served-gemini", "responseId": "g-1",
    }  # fmt: skip


def _gemini_stream(whole: Json, tools: bool) -> list[bytes]:
    parts = whole["candidates"][0]["content"]["parts"] if tools else [{"text": text} for text in _split(TEXT)]  # fmt: skip
    frames = []
    for at, part in enumerate(parts):
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if at == len(parts) - 1:
            candidate["finishReason"] = "STOP"
        frames.append(b"data: " + jsonio.dumps({**whole, "candidates": [candidate]}) + b"\r\n\r\n")
    return frames


_WHOLES: dict[str, Callable[[bool], Json]] = {
    CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini,
}  # fmt: skip
_STREAMS: dict[str, Callable[[Json, bool], list[bytes]]] = {
    CHAT: _chat_stream, RESPONSES: _responses_stream, MESSAGES: _messages_stream, GEMINI: _gemini_stream,
}  # fmt: skip


def set_finish(dialect: str, value: Any = ...) -> Callable[[Json], None]:
    """Change the member that says why an answer ended; without a value, remove it."""

    def change(whole: Json) -> None:
        inside, name = whole, FINISH[dialect]
        if dialect in (CHAT, GEMINI):
            inside = whole["choices" if dialect == CHAT else "candidates"][0]
        if value is ...:
            del inside[name]
        else:
            inside[name] = value

    return change


COUNTED: dict[str, Json] = {
    MESSAGES: {"input_tokens": 12},
    GEMINI: {"totalTokens": 12},
    RESPONSES: {"object": "response.input_tokens", "input_tokens": 12},
}
"""Answers to a request for a count of tokens."""


def whole(value: Json) -> Answer:
    """Build an answer in one piece."""
    body = jsonio.dumps(value)
    return Answer(pieces=(body,), length=len(body), bill=COUNTS)


def host(dialect: str) -> Callable[[Request], Answer]:
    """Answer as a host of a dialect does: whole, as a stream, or with a count of tokens."""

    def script(request: Request) -> Answer:
        if request.path.endswith(("/count_tokens", "/input_tokens", ":countTokens")):
            return whole(COUNTED[dialect])
        streams = request.json.get("stream") is True or ":stream" in request.path
        return answer(dialect, stream=streams)

    return script


# Requests of the clients.


PATHS = {CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages"}


def make_request(
    dialect: str, model: str, text: str = "Hi", *, stream: bool = False, **more: Any
) -> tuple[str, Json]:
    """Return the path and the body of a request; in Gemini's dialect the path has the model."""
    turns = [{"role": "user", "content": text}]
    if dialect == GEMINI:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        contents = [{"role": "user", "parts": [{"text": text}]}]
        return f"/v1beta/models/{model}:{method}", {"contents": contents, **more}
    prompts: dict[str, Json] = {
        CHAT: {"messages": turns}, RESPONSES: {"input": text}, MESSAGES: {"messages": turns, "max_tokens": 9},
    }  # fmt: skip
    return PATHS[dialect], {
        "model": model,
        **prompts[dialect],
        **({"stream": True} if stream else {}),
        **more,
    }


type Ask = Callable[[World, str, bool, bool], ParsedAnswer]
"""Takes a world, a model, True to offer a tool, and True to stream."""

QUESTION = "What is the weather in Zürich?"
SYSTEM = "Be brief."


@contextmanager
def _openai(world: World) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0) as sdk:
        yield sdk


def ask_chat(world: World, model: str, tools: bool, stream: bool) -> ParsedAnswer:
    function = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}
    offered: Json = {"tools": [{"type": "function", "function": function}]} if tools else {}
    messages: list[Any] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": QUESTION},
    ]
    with _openai(world) as sdk:
        if not stream:
            whole = sdk.chat.completions.create(model=model, messages=messages, **offered)
            return _parse_chat(
                whole.choices[0].message, whole.choices[0].finish_reason, whole.usage
            )
        options: Json = {"stream_options": {"include_usage": True}}
        with sdk.chat.completions.stream(
            model=model, messages=messages, **options, **offered
        ) as events:
            final = events.get_final_completion()
        return _parse_chat(final.choices[0].message, final.choices[0].finish_reason, final.usage)


def _parse_chat(message: Any, finish: str, usage: Any) -> ParsedAnswer:
    calls = tuple((call.function.name, canonical(call.function.arguments)) for call in message.tool_calls or ())  # fmt: skip
    return ParsedAnswer(
        text=message.content or "",
        calls=calls,
        finish="tools" if finish == "tool_calls" else finish,
        counts=(usage.prompt_tokens, usage.completion_tokens),
    )


def ask_responses(world: World, model: str, tools: bool, stream: bool) -> ParsedAnswer:
    function = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    offered: Json = {"tools": [function]} if tools else {}
    body: Json = {"model": model, "instructions": SYSTEM, "input": QUESTION, **offered}
    reply: Any
    with _openai(world) as sdk:
        if stream:
            with sdk.responses.stream(**body) as events:
                reply = events.get_final_response()
        else:
            reply = sdk.responses.create(**body)
    calls = tuple((item.name, canonical(item.arguments)) for item in reply.output if item.type == "function_call")  # fmt: skip
    assert reply.status == "completed"
    assert reply.usage is not None
    return ParsedAnswer(
        text=reply.output_text,
        calls=calls,
        finish="tools" if calls else "stop",
        counts=(reply.usage.input_tokens, reply.usage.output_tokens),
    )


def ask_messages(world: World, model: str, tools: bool, stream: bool) -> ParsedAnswer:
    tool = {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}
    body: Json = {
        "model": model, "max_tokens": 500, "system": SYSTEM,
        "messages": [{"role": "user", "content": QUESTION}], **({"tools": [tool]} if tools else {}),
    }  # fmt: skip
    with anthropic.Anthropic(base_url=world.url, api_key="k", max_retries=0) as sdk:
        reply: Any
        if stream:
            with sdk.messages.stream(**body) as events:
                reply = events.get_final_message()
        else:
            reply = sdk.messages.create(**body)
    words = {"end_turn": "stop", "tool_use": "tools", "max_tokens": "length"}
    return ParsedAnswer(
        text="".join(block.text for block in reply.content if block.type == "text"),
        calls=tuple(
            (block.name, canonical(block.input))
            for block in reply.content
            if block.type == "tool_use"
        ),
        finish=words[str(reply.stop_reason)],
        counts=(reply.usage.input_tokens, reply.usage.output_tokens),
    )


def ask_gemini(world: World, model: str, tools: bool, stream: bool) -> ParsedAnswer:
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        system_instruction=SYSTEM,
        tools=[types.Tool(function_declarations=[declared])] if tools else None,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=world.url))
    if stream:
        chunks = list(
            sdk.models.generate_content_stream(model=model, contents=QUESTION, config=config)
        )
    else:
        chunks = [sdk.models.generate_content(model=model, contents=QUESTION, config=config)]
    sdk.close()
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.candidates or ()
        if candidate.content is not None
        for part in candidate.content.parts or ()
    ]
    calls = tuple(
        (str(item.name), canonical(item.args)) for part in parts if (item := part.function_call)
    )
    ended = [
        item.finish_reason
        for chunk in chunks
        for item in chunk.candidates or ()
        if item.finish_reason
    ]
    assert [str(item.name) for item in ended] == ["STOP"]
    usage = chunks[-1].usage_metadata
    assert usage is not None
    return ParsedAnswer(
        text="".join(part.text or "" for part in parts if not part.thought),
        calls=calls,
        finish="tools" if calls else "stop",
        counts=(
            usage.prompt_token_count or 0,
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        ),
    )


ASKS: dict[str, Ask] = {
    CHAT: ask_chat, RESPONSES: ask_responses, MESSAGES: ask_messages, GEMINI: ask_gemini,
}  # fmt: skip
