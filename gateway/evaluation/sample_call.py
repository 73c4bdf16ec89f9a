"""A prompt as the request that a client would send: what is studied is decided as calls are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from gateway.core import jsonio
from gateway.core.call import NO_STEER, OPEN, Key, RequestOptions
from gateway.core.jsonio import Json
from gateway.core.target import Tier
from gateway.dialects import DIALECTS, Dialect, TranslatableRequest
from gateway.routing import features
from gateway.routing.features import Features
from gateway.routing.router import Router

type Said = tuple[Literal["user", "answer", "tool"], str]
"""A user's words, the model's answer, or the result of a tool that the model has called."""
OUTPUT: Mapping[Tier, int] = {"fast": 400, "smart": 600, "reasoning": 2_000}
"""Tokens that an answer of a tier is taken to have, its reasoning too, where nobody says better."""
_TOOL = "work"
_USED = {"id": "t1", "type": "function", "function": {"name": _TOOL, "arguments": "{}"}}


def _chat(model: str, talk: Sequence[Said]) -> Json:
    messages: list[Json] = []
    for who, text in talk:
        if who == "tool":
            messages.append({"role": "assistant", "content": None, "tool_calls": [_USED]})
            messages.append({"role": "tool", "tool_call_id": "t1", "content": text})
        else:
            messages.append({"role": "user" if who == "user" else "assistant", "content": text})
    return {"model": model, "messages": messages}


def _responses(model: str, talk: Sequence[Said]) -> Json:
    items: list[Json] = []
    for who, text in talk:
        if who == "tool":
            called = {"type": "function_call", "call_id": "t1", "name": _TOOL, "arguments": "{}"}
            items += [called, {"type": "function_call_output", "call_id": "t1", "output": text}]
        else:
            items.append({"role": "user" if who == "user" else "assistant", "content": text})
    return {"model": model, "input": items}


def _messages(model: str, talk: Sequence[Said]) -> Json:
    messages: list[Json] = []
    for who, text in talk:
        if who == "tool":
            used = {"type": "tool_use", "id": "t1", "name": _TOOL, "input": {}}
            result = {"type": "tool_result", "tool_use_id": "t1", "content": text}
            messages.append({"role": "assistant", "content": [used]})
            messages.append({"role": "user", "content": [result]})
        else:
            messages.append({"role": "user" if who == "user" else "assistant", "content": text})
    return {"model": model, "max_tokens": 4096, "messages": messages}


def _gemini(_: str, talk: Sequence[Said]) -> Json:
    contents: list[Json] = []
    for who, text in talk:
        if who == "tool":
            called = {"functionCall": {"name": _TOOL, "args": {}}}
            result = {"functionResponse": {"name": _TOOL, "response": {"said": text}}}
            contents.append({"role": "model", "parts": [called]})
            contents.append({"role": "user", "parts": [result]})
        else:
            role = "user" if who == "user" else "model"
            contents.append({"role": role, "parts": [{"text": text}]})
    return {"contents": contents}


_SAID: Mapping[str, Callable[[str, Sequence[Said]], Json]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic-messages": _messages,
    "gemini": _gemini,
}
"""The plainest request of each dialect."""


def question(
    router: Router,
    text: str | Sequence[Said],
    *,
    model: str = "auto",
    key: Key = OPEN,
    steer: RequestOptions = NO_STEER,
    dialect: str = "openai-chat",
    hints: Mapping[str, str] = {},
) -> tuple[Features, Dialect]:
    """Return what a decision reads of a prompt, or of a conversation, and the dialect it is in."""
    spoken = DIALECTS[dialect]
    talk: Sequence[Said] = [("user", text)] if isinstance(text, str) else text
    raw = jsonio.dumps(_SAID[dialect](model, talk))
    if spoken.read_at is None:
        body = spoken.read(raw)
    else:
        body = spoken.read_at(raw, f"models/{model}:generateContent")
    asked = TranslatableRequest(spoken, body, router.fetches)
    return features.read(body.prompt, dialect, key, steer, asked, hints), spoken


def named(name: str | None, keys: Mapping[str, Key]) -> Key:
    """The key of a name; of one that nobody knows the name is all there is."""
    return OPEN if name is None else keys.get(name) or Key(name=name)
