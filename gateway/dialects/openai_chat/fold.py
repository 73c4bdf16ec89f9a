"""A recorded stream as a whole answer, and a whole answer as a stream: the same words either way.

Works on the wire's own members, so that what this gateway does not know (fingerprints, service
tiers, hosts' extensions) survives. Sources: the chunk and completion objects of OpenAI's API
reference; tool calls are merged by `index`, their arguments and all text by concatenation.
"""

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json

type Object = dict[str, Json]

_JOINED = frozenset(
    {"content", "refusal", "reasoning_content", "reasoning", "reasoning_text", "arguments"}
)
"""Strings that come in pieces; any other string is said once and the last one stands."""


def fold(stream: bytes) -> bytes:
    """The whole answer that says what a stream of chunks said."""
    whole: Object = {}
    choices: dict[int, Object] = {}
    for frame in sse.frames(stream):
        payload = sse.data(frame)
        if payload in (b"", b"[DONE]"):
            continue
        chunk = jsonio.loads(payload)
        for choice in chunk.pop("choices", None) or ():
            _merge_choice(choices.setdefault(choice.get("index", 0), {}), choice)
        for name, value in chunk.items():
            if value is not None or name not in whole:
                whole[name] = value
    whole.pop("obfuscation", None)
    whole["object"] = "chat.completion"
    usage = whole.pop("usage", None)
    whole["choices"] = [choices[index] for index in sorted(choices)]
    if usage is not None:
        whole["usage"] = usage
    return jsonio.dumps(whole)


def _merge_choice(into: Object, choice: Object) -> None:
    into.setdefault("index", choice.get("index", 0))
    message = into.setdefault("message", {"role": "assistant", "content": None})
    _merge(message, choice.get("delta") or {})
    for name, value in choice.items():
        if name == "logprobs" and isinstance(value, dict):
            held = into.get("logprobs") or {}
            into["logprobs"] = {
                key: [*(held.get(key) or ()), *part] if isinstance(part, list) else part
                for key, part in {**held, **value}.items()
            }
        elif name not in ("index", "delta") and (value is not None or name not in into):
            into[name] = value


def _merge(into: Object, delta: Object) -> None:
    for name, value in delta.items():
        held = into.get(name)
        if name == "tool_calls" and isinstance(value, list):
            into[name] = _merge_calls(held or [], value)
        elif isinstance(value, dict) and isinstance(held, dict):
            _merge(held, value)
        elif isinstance(value, list) and isinstance(held, list):
            into[name] = [*held, *value]
        elif isinstance(value, str) and isinstance(held, str) and name in _JOINED:
            into[name] = held + value
        elif value is not None or name not in into:
            into[name] = value


def _merge_calls(held: list[Object], pieces: list[Object]) -> list[Object]:
    for piece in pieces:
        index = piece.get("index", len(held))
        while len(held) <= index:
            held.append({})
        _merge(held[index], {name: value for name, value in piece.items() if name != "index"})
    return held


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: FBT001 - a dialect's function has no names
    """The stream that says what a whole answer said: one chunk a choice, a finish, `[DONE]`."""
    value = jsonio.loads(whole)
    usage = value.pop("usage", None)
    choices = value.pop("choices", None) or []
    head = {**value, "object": "chat.completion.chunk"}
    frames = []
    for choice in choices:
        message = dict(choice.get("message") or {})
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
        more = {
            name: item
            for name, item in choice.items()
            if name not in ("message", "finish_reason", "index")
        }
        index = choice.get("index", 0)
        said = {"index": index, "delta": message, **more, "finish_reason": None}
        ended = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        frames += [{**head, "choices": [said]}, {**head, "choices": [ended]}]
    if with_usage and usage is not None:
        frames.append({**head, "choices": [], "usage": usage})
    return b"".join([sse.frame(jsonio.dumps(item)) for item in frames]) + sse.frame(b"[DONE]")
