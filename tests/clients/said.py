"""One turn of a model as four labs say it: reasoning, text and calls, streamed or whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.core import jsonio
from tests.e2e import messages
from tests.e2e.abroad import CHAT, COUNTS, GEMINI, MESSAGES, RESPONSES
from tests.e2e.upstream import SSE, Answer

type Json = dict[str, Any]

_PIECE = 7
"""Characters of one delta."""
_MODEL = "served-model"


@dataclass(frozen=True)
class Turn:
    """What the model says once."""

    text: str = ""
    calls: tuple[tuple[str, Json], ...] = ()
    """Names and arguments."""
    thought: str = ""


def said(dialect: str, turn: Turn, number: int, *, stream: bool) -> Answer:
    """The answer of a lab; no two numbers share an id."""
    frames, whole = _SAID[dialect](turn, number)
    if stream:
        return Answer(pieces=tuple(frames), headers=SSE)
    body = jsonio.dumps(whole)
    return Answer(pieces=(body,), length=len(body))


def state(dialect: str, number: int) -> str:
    """The reasoning state that belongs to a turn with a thought, as it must come back."""
    return {CHAT: f"Thought {number}.", RESPONSES: f"gAAAA-enc-{number}=="}.get(
        dialect, f"c2lnLW51bWJlci0w{number:04}+/=="
    )


def _cut(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _line(value: Json, kind: str = "") -> bytes:
    head = f"event: {kind}\n".encode() if kind else b""
    return head + b"data: " + jsonio.dumps(value) + b"\n\n"


def _text(value: Json) -> str:
    return jsonio.dumps(value).decode()


type Told = tuple[Iterator[bytes] | list[bytes], Json]


def _chat(turn: Turn, number: int) -> Told:
    calls = [
        {"id": f"call_{number}x{at}", "type": "function", "function": {"name": name, "arguments": _text(given)}}
        for at, (name, given) in enumerate(turn.calls)
    ]  # fmt: skip
    thought = state(CHAT, number) if turn.thought else ""
    message: Json = {"role": "assistant", "content": turn.text or None}
    message |= ({"tool_calls": calls} if calls else {}) | (
        {"reasoning_content": thought} if thought else {}
    )
    finish = "tool_calls" if calls else "stop"
    usage = {"prompt_tokens": COUNTS[0], "completion_tokens": COUNTS[1], "total_tokens": sum(COUNTS)}  # fmt: skip
    head = {"id": f"chatcmpl-{number}", "created": 1_790_000_000, "model": _MODEL}
    whole = {
        **head, "object": "chat.completion", "usage": usage,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }  # fmt: skip
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": part} for part in _cut(thought)]
    deltas += [{"content": part} for part in _cut(turn.text)]
    for at, call in enumerate(calls):
        inner: Any = call["function"]
        deltas.append(
            {"tool_calls": [{**call, "index": at, "function": {**inner, "arguments": ""}}]}
        )
        deltas += [
            {"tool_calls": [{"index": at, "function": {"arguments": part}}]} for part in _cut(inner["arguments"])
        ]  # fmt: skip
    chunk = {**head, "object": "chat.completion.chunk"}
    frames = [_line({**chunk, "choices": [{"index": 0, "delta": it, "finish_reason": None}]}) for it in deltas]  # fmt: skip
    frames.append(_line({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
    frames.append(_line({**chunk, "choices": [], "usage": usage}))
    return [*frames, b"data: [DONE]\n\n"], whole


def _messages(turn: Turn, number: int) -> Told:
    blocks = [messages.thinking(turn.thought, state(MESSAGES, number))] if turn.thought else []
    blocks += [messages.text(turn.text)] if turn.text else []
    blocks += [messages.tool(f"toolu_{number}x{at}", name, **given) for at, (name, given) in enumerate(turn.calls)]  # fmt: skip
    usage = {"input_tokens": COUNTS[0], "output_tokens": COUNTS[1]}
    end = "tool_use" if turn.calls else "end_turn"
    whole = {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": _MODEL,
        "content": blocks, "stop_reason": end, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    inner = messages.frames(*blocks)[1:-2]  # its blocks, without its own start and end
    return [
        messages.event("message_start", message={**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}),
        *inner,
        messages.event("message_delta", delta={"stop_reason": end, "stop_sequence": None}, usage=usage),
        messages.event("message_stop"),
    ], whole  # fmt: skip


def _responses(turn: Turn, number: int) -> Told:
    items: list[Json] = []
    if turn.thought:
        summary = [{"type": "summary_text", "text": turn.thought}]
        items.append({"type": "reasoning", "id": f"rs_{number}", "summary": summary, "encrypted_content": state(RESPONSES, number)})  # fmt: skip
    if turn.text:
        part = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]})  # fmt: skip
    for at, (name, given) in enumerate(turn.calls):
        items.append({
            "type": "function_call", "id": f"fc_{number}x{at}", "call_id": f"call_{number}x{at}", "name": name,
            "arguments": _text(given), "status": "completed",
        })  # fmt: skip
    usage = {
        "input_tokens": COUNTS[0], "input_tokens_details": {"cached_tokens": 0}, "output_tokens": COUNTS[1],
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": sum(COUNTS),
    }  # fmt: skip
    whole = {
        "id": f"resp_{number}", "object": "response", "created_at": 1_790_000_000, "status": "completed",
        "model": _MODEL, "output": items, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "error": None, "incomplete_details": None, "usage": usage,
    }  # fmt: skip
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for at, item in enumerate(items):
        events += _item(item, at)
    events.append({"type": "response.completed", "response": whole})
    return [
        _line({**event, "sequence_number": n}, event["type"]) for n, event in enumerate(events)
    ], whole


def _item(item: Json, at: int) -> Iterator[Json]:
    where = {"item_id": item["id"], "output_index": at}
    added: Json = {"type": "response.output_item.added", "output_index": at}
    match item["type"]:
        case "function_call":
            yield {**added, "item": {**item, "arguments": "", "status": "in_progress"}}
            for piece in _cut(item["arguments"]):
                yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
            yield {"type": "response.function_call_arguments.done", **where, "name": item["name"], "arguments": item["arguments"]}  # fmt: skip
        case "message":
            part, spot = item["content"][0], {**where, "content_index": 0}
            yield {**added, "item": {**item, "content": [], "status": "in_progress"}}
            yield {"type": "response.content_part.added", **spot, "part": {**part, "text": ""}}
            for piece in _cut(part["text"]):
                yield {"type": "response.output_text.delta", **spot, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **spot, "text": part["text"], "logprobs": []}  # fmt: skip
            yield {"type": "response.content_part.done", **spot, "part": part}
        case _:
            part, spot = item["summary"][0], {**where, "summary_index": 0}
            yield {**added, "item": {**item, "summary": []}}
            yield {"type": "response.reasoning_summary_part.added", **spot, "part": {**part, "text": ""}}  # fmt: skip
            for piece in _cut(part["text"]):
                yield {"type": "response.reasoning_summary_text.delta", **spot, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **spot, "text": part["text"]}
            yield {"type": "response.reasoning_summary_part.done", **spot, "part": part}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _gemini(turn: Turn, number: int) -> Told:
    thoughts: list[Json] = [{"text": turn.thought, "thought": True}] if turn.thought else []
    calls: list[Json] = [{"functionCall": {"name": name, "args": given}} for name, given in turn.calls]  # fmt: skip
    if calls and turn.thought:
        calls[0]["thoughtSignature"] = state(GEMINI, number)
    texts: list[Json] = [{"text": turn.text}] if turn.text else []
    pieces = thoughts + [{"text": part} for part in _cut(turn.text)] + calls

    def value(parts: list[Json], finish: Json) -> Json:
        return {
            "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **finish}],
            "usageMetadata": {"promptTokenCount": COUNTS[0], "candidatesTokenCount": COUNTS[1], "totalTokenCount": sum(COUNTS)},
            "modelVersion": _MODEL, "responseId": f"g-{number}",
        }  # fmt: skip

    last = len(pieces) - 1
    return [
        b"data: " + jsonio.dumps(value([piece], {"finishReason": "STOP"} if at == last else {})) + b"\r\n\r\n"
        for at, piece in enumerate(pieces)
    ], value(thoughts + texts + calls, {"finishReason": "STOP"})  # fmt: skip


_SAID: dict[str, Callable[[Turn, int], Told]] = {
    CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini,
}  # fmt: skip
