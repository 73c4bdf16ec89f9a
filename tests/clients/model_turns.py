"""Write one turn of a model as labs do: reasoning, text and calls, streamed or whole.

Nothing here imports the gateway.
"""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tests.dialects.bedrock_converse import frames as converse
from tests.e2e import claude_answers
from tests.e2e.upstream import SSE, Answer

type Json = dict[str, Any]

CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini", "bedrock-converse",
)  # fmt: skip
_MODEL = "served-model"
_PIECE = re.compile(r"\s*\S+\s*")
"""One delta: a word with the space around it."""


@dataclass(frozen=True)
class Turn:
    """One turn of the model."""

    text: str = ""
    calls: tuple[tuple[str, Json], ...] = ()
    """Names and arguments."""
    thought: str = ""


@dataclass(frozen=True)
class Tokens:
    """Tokens of one answer, as its provider counts and bills them."""

    fresh: int = 7
    """Prompt tokens that were neither read from a prompt cache nor written to it."""
    output: int = 3
    """Output tokens, those of reasoning included."""
    read: int = 0
    write: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        return self.fresh + self.read + self.write


@dataclass(frozen=True)
class _TurnAnswer:
    """One answer before it takes the form of a dialect."""

    turn: Turn
    number: int
    model: str
    tokens: Tokens
    usage: Json | None
    members: Json


def write_turn(
    dialect: str,
    turn: Turn,
    number: int,
    *,
    stream: bool,
    model: str = _MODEL,
    tokens: Tokens = Tokens(),
    usage: Json | None = None,
    members: Json | None = None,
) -> Answer:
    """Return the answer of a lab; ids of different numbers differ.

    `usage` is the whole object in place of that of `tokens`. `members` are more members of the
    answer; in Gemini's dialect they are those of the candidate. Converse names no model.
    """
    frames, whole = _WRITERS[dialect](
        _TurnAnswer(turn, number, model, tokens, usage, members or {})
    )
    if stream:
        return Answer(pieces=tuple(frames), headers=_STREAMS.get(dialect, SSE))
    body = orjson.dumps(whole)
    return Answer(pieces=(body,), length=len(body))


def state(dialect: str, number: int) -> str:
    """Return the reasoning state of a turn with a thought, as the client must send it back."""
    signature = base64.b64encode(f"sig-{number}".encode() + b"\xff\xff\xfe\xfb").decode()
    return {CHAT: f"Thought {number}.", RESPONSES: f"gAAAA-enc-{number}=="}.get(dialect, signature)


def _cut(text: str) -> list[str]:
    return _PIECE.findall(text)


def _line(value: Json, kind: str = "") -> bytes:
    head = f"event: {kind}\n".encode() if kind else b""
    return head + b"data: " + orjson.dumps(value) + b"\n\n"


def _text(value: Json) -> str:
    return orjson.dumps(value).decode()


_STREAMS = {CONVERSE: (("content-type", "application/vnd.amazon.eventstream"),)}
"""The headers of streams that are no server-sent events."""
type WrittenTurn = tuple[Iterator[bytes] | list[bytes], Json]


def _chat(answered: _TurnAnswer) -> WrittenTurn:
    turn, number, tokens = answered.turn, answered.number, answered.tokens
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
    usage: Json = answered.usage or {
        "prompt_tokens": tokens.prompt, "completion_tokens": tokens.output, "total_tokens": tokens.prompt + tokens.output,
        **_details(tokens, "prompt_tokens_details", "completion_tokens_details"),
    }  # fmt: skip
    head = {"id": f"chatcmpl-{number}", "created": 1_790_000_000, "model": answered.model, **answered.members}  # fmt: skip
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


def _details(tokens: Tokens, prompt: str, completion: str) -> Json:
    """Write the counts that OpenAI gives beside the sums, by the names of one of its dialects."""
    written = {"cache_write_tokens": tokens.write} if tokens.write else {}
    return {
        prompt: {"cached_tokens": tokens.read, **written},
        completion: {"reasoning_tokens": tokens.reasoning},
    }


def _messages(answered: _TurnAnswer) -> WrittenTurn:
    turn, number, tokens = answered.turn, answered.number, answered.tokens
    blocks = (
        [claude_answers.thinking(turn.thought, state(MESSAGES, number))] if turn.thought else []
    )
    blocks += [claude_answers.text(turn.text)] if turn.text else []
    blocks += [claude_answers.tool(f"toolu_{number}x{at}", name, **given) for at, (name, given) in enumerate(turn.calls)]  # fmt: skip
    usage: Json = answered.usage or {
        "input_tokens": tokens.fresh, "cache_read_input_tokens": tokens.read, "cache_creation_input_tokens": tokens.write,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens.output,
    }  # fmt: skip
    end = "tool_use" if turn.calls else "end_turn"
    whole = {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": answered.model,
        "content": blocks, "stop_reason": end, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    inner = claude_answers.frames(*blocks)[1:-2]  # the frames of the blocks, without start and end
    return [
        claude_answers.event("message_start", message={**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}),
        *inner,
        claude_answers.event("message_delta", delta={"stop_reason": end, "stop_sequence": None}, usage=usage),
        claude_answers.event("message_stop"),
    ], whole  # fmt: skip


def _responses(answered: _TurnAnswer) -> WrittenTurn:
    turn, number, tokens = answered.turn, answered.number, answered.tokens
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
    usage: Json = answered.usage or {
        "input_tokens": tokens.prompt, "output_tokens": tokens.output, "total_tokens": tokens.prompt + tokens.output,
        **_details(tokens, "input_tokens_details", "output_tokens_details"),
    }  # fmt: skip
    whole = {
        "id": f"resp_{number}", "object": "response", "created_at": 1_790_000_000, "status": "completed",
        "model": answered.model, "output": items, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "error": None, "incomplete_details": None, "usage": usage, **answered.members,
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


def _gemini(answered: _TurnAnswer) -> WrittenTurn:
    turn, number, tokens = answered.turn, answered.number, answered.tokens
    usage: Json = {
        "promptTokenCount": tokens.prompt, "candidatesTokenCount": tokens.output - tokens.reasoning,
        "totalTokenCount": tokens.prompt + tokens.output,
    }  # fmt: skip
    usage |= {"cachedContentTokenCount": tokens.read} if tokens.read else {}
    usage |= {"thoughtsTokenCount": tokens.reasoning} if tokens.reasoning else {}
    usage = answered.usage or usage
    end = {"finishReason": "STOP", **answered.members}
    thoughts: list[Json] = [{"text": turn.thought, "thought": True}] if turn.thought else []
    calls: list[Json] = [{"functionCall": {"name": name, "args": given}} for name, given in turn.calls]  # fmt: skip
    if calls and turn.thought:
        calls[0]["thoughtSignature"] = state(GEMINI, number)
    texts: list[Json] = [{"text": turn.text}] if turn.text else []
    pieces = thoughts + [{"text": part} for part in _cut(turn.text)] + calls

    def value(parts: list[Json], finish: Json) -> Json:
        return {
            "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **finish}],
            "usageMetadata": usage, "modelVersion": answered.model, "responseId": f"g-{number}",
        }  # fmt: skip

    last = len(pieces) - 1
    return [
        b"data: " + orjson.dumps(value([piece], end if at == last else {})) + b"\r\n\r\n"
        for at, piece in enumerate(pieces)
    ], value(thoughts + texts + calls, end)  # fmt: skip


def _converse(answered: _TurnAnswer) -> WrittenTurn:
    turn, number, tokens = answered.turn, answered.number, answered.tokens
    usage: Json = answered.usage or {
        "inputTokens": tokens.fresh, "outputTokens": tokens.output, "totalTokens": tokens.prompt + tokens.output,
        "cacheReadInputTokens": tokens.read, "cacheWriteInputTokens": tokens.write,
    }  # fmt: skip
    reason = answered.members.get("stopReason", "tool_use" if turn.calls else "end_turn")
    blocks: list[Json] = []
    frames = [converse.start()]
    if turn.thought:
        signed = {"text": turn.thought, "signature": state(CONVERSE, number)}
        blocks.append({"reasoningContent": {"reasoningText": signed}})
        deltas = [{"text": piece} for piece in _cut(turn.thought)]
        deltas.append({"signature": signed["signature"]})
        frames += [converse.delta({"reasoningContent": delta}) for delta in deltas]
        frames.append(converse.stop())
    if turn.text:
        at = len(blocks)
        blocks.append({"text": turn.text})
        frames += [converse.text(piece, at) for piece in _cut(turn.text)]
        frames.append(converse.stop(at))
    for index, (name, given) in enumerate(turn.calls):
        at, id_ = len(blocks), f"tooluse_{number}x{index}"
        blocks.append({"toolUse": {"toolUseId": id_, "name": name, "input": given}})
        frames.append(converse.call(name, *_cut(_text(given)), index=at, id=id_))
    frames += [converse.message_stop(reason), converse.metadata(usage)]
    whole = orjson.loads(converse.whole(*blocks, reason=reason, usage=usage))
    return frames, whole


_WRITERS: dict[str, Callable[[_TurnAnswer], WrittenTurn]] = {
    CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini, CONVERSE: _converse,
}  # fmt: skip
