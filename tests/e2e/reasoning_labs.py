"""Providers that think before they use a tool, and the reasoning that they get back."""

from collections.abc import Callable
from typing import Any

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, SCHEMA, answer, four
from tests.e2e.upstream import SSE, Answer, Request
from tests.e2e.world import Config

type Json = dict[str, Any]

THOUGHT, STATE = "They ask for the weather.", "c3RhdGU="
FUNCTION = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}
TOOLS: Any = [{"type": "function", "function": FUNCTION}]
LABS = (MESSAGES, RESPONSES, GEMINI, CHAT)


def thinking(value: Config) -> None:
    """Configure four labs; the chat model thinks, and expects its reasoning back."""
    four(value)
    effort = {"style": "reasoning_effort", "accepts": ["none", "high"], "default": "high"}
    value["models"][f"m-{CHAT}"] |= {"replays_reasoning": True, "effort": effort}


def _messages() -> Json:
    whole = jsonio.loads(answer(MESSAGES, tools=True).pieces[0] or b"")
    thought = {"type": "thinking", "thinking": THOUGHT, "signature": STATE}
    whole["content"].insert(0, thought)
    return dict(whole)


def _responses() -> Json:
    whole = jsonio.loads(answer(RESPONSES, tools=True).pieces[0] or b"")
    summary = [{"type": "summary_text", "text": THOUGHT}]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": STATE}
    whole["output"].insert(0, item)
    return dict(whole)


def _gemini() -> Json:
    whole = jsonio.loads(answer(GEMINI, tools=True).pieces[0] or b"")
    whole["candidates"][0]["content"]["parts"][0]["thoughtSignature"] = STATE
    return dict(whole)


def _chat() -> Json:
    whole = jsonio.loads(answer(CHAT, tools=True).pieces[0] or b"")
    whole["choices"][0]["message"]["reasoning_content"] = THOUGHT
    return dict(whole)


WHOLES: dict[str, Callable[[], Json]] = {
    MESSAGES: _messages, RESPONSES: _responses, GEMINI: _gemini, CHAT: _chat,
}  # fmt: skip


def _event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + jsonio.dumps({"type": kind, **more}) + b"\n\n"


def _messages_stream() -> list[bytes]:
    frames = [piece or b"" for piece in answer(MESSAGES, tools=True, stream=True).pieces]
    moved = [frame.replace(b'"index":0', b'"index":1') for frame in frames[1:]]
    block = {"type": "thinking", "thinking": "", "signature": ""}
    thought = {"type": "thinking_delta", "thinking": THOUGHT}
    return [
        frames[0],
        _event("content_block_start", index=0, content_block=block),
        _event("content_block_delta", index=0, delta=thought),
        _event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": STATE}),
        _event("content_block_stop", index=0),
        *moved,
    ]  # fmt: skip


def _chat_stream() -> list[bytes]:
    frames = [piece or b"" for piece in answer(CHAT, tools=True, stream=True).pieces]
    first = frames[0].replace(b'"content":""', b'"reasoning_content":' + jsonio.dumps(THOUGHT))
    return [first, *frames[1:]]


STREAMS = {MESSAGES: _messages_stream, CHAT: _chat_stream}


def thinking_answer(lab: str, *, stream: bool = False) -> Answer:
    """Build an answer with a thought and then a tool call."""
    if stream:
        return Answer(pieces=tuple(STREAMS[lab]()), headers=SSE)
    body = jsonio.dumps(WHOLES[lab]())
    return Answer(pieces=(body,), length=len(body))


def reasoning(request: Request, lab: str) -> Any:
    """Return the reasoning that a provider gets back with the tool call."""
    body = request.json
    if lab == MESSAGES:
        (turn,) = [item for item in body["messages"] if item["role"] == "assistant"]
        return [
            (item["type"], item.get("thinking"), item.get("signature")) for item in turn["content"]
        ]
    if lab == RESPONSES:
        items = [
            item for item in body["input"] if item.get("type") in ("reasoning", "function_call")
        ]
        return [(item["type"], item.get("encrypted_content")) for item in items]
    if lab == GEMINI:
        (turn,) = [item for item in body["contents"] if item["role"] == "model"]
        return [("functionCall" in item, item.get("thoughtSignature")) for item in turn["parts"]]
    (turn,) = [item for item in body["messages"] if item["role"] == "assistant"]
    return turn.get("reasoning_content")


BACK = {
    MESSAGES: [("thinking", THOUGHT, STATE), ("tool_use", None, None)],
    RESPONSES: [("reasoning", STATE), ("function_call", None)],
    GEMINI: [(True, STATE)],
    CHAT: THOUGHT,
}
NONE = {
    MESSAGES: [("tool_use", None, None)],
    RESPONSES: [("function_call", None)],
    GEMINI: [(True, "skip_thought_signature_validator")],  # Google's own word for none
    CHAT: "",
}
