"""A prompt as the request that a client would send: what is studied is decided as calls are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.core.jsonio import Json
from gateway.dialects import DIALECTS, Dialect, RequestBody, TranslatableRequest
from gateway.routing import features
from gateway.routing.client_detection import USER_AGENT_PREFIXES
from gateway.routing.features import Features
from gateway.routing.router import Router

type SampleMessage = tuple[Literal["user", "answer", "tool"], str]
"""A user's words, the model's answer, or the result of a tool that the model has called."""
USUAL_TIME = 561_600.0
"""When a call comes where nobody says it: a Wednesday at noon in UTC, the same on every day.

A decision that depends on the clock of the machine would make CI fail at night.
"""
_TOOL_NAME = "work"
_TOOL_CALL = {"id": "t1", "type": "function", "function": {"name": _TOOL_NAME, "arguments": "{}"}}


def _build_chat(model: str, conversation: Sequence[SampleMessage]) -> Json:
    messages: list[Json] = []
    for speaker, text in conversation:
        if speaker == "tool":
            messages.append({"role": "assistant", "content": None, "tool_calls": [_TOOL_CALL]})
            messages.append({"role": "tool", "tool_call_id": "t1", "content": text})
        else:
            messages.append({"role": "user" if speaker == "user" else "assistant", "content": text})
    return {"model": model, "messages": messages}


def _build_responses(model: str, conversation: Sequence[SampleMessage]) -> Json:
    items: list[Json] = []
    for speaker, text in conversation:
        if speaker == "tool":
            tool_call = {
                "type": "function_call",
                "call_id": "t1",
                "name": _TOOL_NAME,
                "arguments": "{}",
            }
            items += [tool_call, {"type": "function_call_output", "call_id": "t1", "output": text}]
        else:
            items.append({"role": "user" if speaker == "user" else "assistant", "content": text})
    return {"model": model, "input": items}


def _build_messages(model: str, conversation: Sequence[SampleMessage]) -> Json:
    messages: list[Json] = []
    for speaker, text in conversation:
        if speaker == "tool":
            tool_use = {"type": "tool_use", "id": "t1", "name": _TOOL_NAME, "input": {}}
            result = {"type": "tool_result", "tool_use_id": "t1", "content": text}
            messages.append({"role": "assistant", "content": [tool_use]})
            messages.append({"role": "user", "content": [result]})
        else:
            messages.append({"role": "user" if speaker == "user" else "assistant", "content": text})
    return {"model": model, "max_tokens": 4096, "messages": messages}


def _build_gemini(_: str, conversation: Sequence[SampleMessage]) -> Json:
    contents: list[Json] = []
    for speaker, text in conversation:
        if speaker == "tool":
            tool_call = {"functionCall": {"name": _TOOL_NAME, "args": {}}}
            result = {"functionResponse": {"name": _TOOL_NAME, "response": {"said": text}}}
            contents.append({"role": "model", "parts": [tool_call]})
            contents.append({"role": "user", "parts": [result]})
        else:
            role = "user" if speaker == "user" else "model"
            contents.append({"role": role, "parts": [{"text": text}]})
    return {"contents": contents}


_BODY_BUILDERS: Mapping[str, Callable[[str, Sequence[SampleMessage]], Json]] = {
    "openai-chat": _build_chat,
    "openai-responses": _build_responses,
    "anthropic-messages": _build_messages,
    "gemini": _build_gemini,
}
"""The plainest request of each dialect."""


def build_body(dialect: str, model: str, text: str | Sequence[SampleMessage]) -> bytes:
    """Return the request that a client of a dialect would send for a prompt or a conversation."""
    conversation: Sequence[SampleMessage] = [("user", text)] if isinstance(text, str) else text
    return jsonio.dumps(_BODY_BUILDERS[dialect](model, conversation))


def read_body(dialect: Dialect, raw: bytes, model: str) -> RequestBody:
    """Read a request. `model` counts where a dialect names it in the path."""
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, f"models/{model}:generateContent")


def build_features(
    router: Router,
    text: str | Sequence[SampleMessage],
    *,
    model: str = "auto",
    key: Key = OPEN_KEY,
    options: RequestOptions = NO_OPTIONS,
    dialect: str = "openai-chat",
    hints: Mapping[str, str] = {},
) -> tuple[Features, Dialect]:
    """Return what a decision reads of a prompt, or of a conversation, and the dialect it is in."""
    client_dialect = DIALECTS[dialect]
    body = read_body(client_dialect, build_body(dialect, model, text), model)
    request = TranslatableRequest(client_dialect, body, router.fetched_media)
    return features.read(body.prompt, dialect, key, options, request, hints), client_dialect


def describe_client(client: str) -> dict[str, str]:
    """The headers of an application: `client` is a name that rules know, or a user agent."""
    prefix = next((prefix for prefix, name in USER_AGENT_PREFIXES if name == client), client)
    return {"user-agent": prefix} if prefix else {}


def find_key(name: str | None, keys: Mapping[str, Key]) -> Key:
    """The key of a name; of one that nobody knows the name is all there is."""
    return OPEN_KEY if name is None else keys.get(name) or Key(name=name)
