"""Whole answers: a summary for accounting, translation to and from events, and recorded streams.

Fold makes a whole answer of a recorded stream, unfold a stream of a whole answer: the same words
either way. Both work on the wire's own members, so that what this gateway does not know
(fingerprints, service tiers, hosts' extensions) survives. Sources: the chunk and completion objects
of OpenAI's API reference; tool calls are merged by `index`, their arguments and all text by
concatenation.
"""

from collections.abc import Iterable

import msgspec

from gateway.core import jsonio, sse
from gateway.core.events import End, Event, Failed, UsageUpdate
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.base import ResponseContext, ResponseSummary, parse_response_id
from gateway.dialects.openai_chat import usage
from gateway.dialects.openai_chat.errors import check_answer
from gateway.dialects.openai_chat.stream_decoder import ChoiceDecoder, make_start, read_index
from gateway.dialects.openai_chat.stream_encoder import StreamEncoder
from gateway.dialects.openai_chat.usage import write_usage
from gateway.dialects.stream_commit import make_broken_problem

type Object = dict[str, Json]

_JOINED = frozenset(
    {
        "content", "refusal", "reasoning_content", "reasoning", "reasoning_text", "arguments",
        "input", "text", "summary", "data", "transcript",
    }
)  # fmt: skip
"""Strings that come in pieces; any other string is said once and the last one stands."""


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    problem, reasons = check_answer(value, body)
    if not isinstance(value, dict):
        return ResponseSummary(problem=problem)
    served = value.get("model")
    told = usage.find(value)
    return ResponseSummary(
        usage=told,
        content_bytes=0
        if told is not None and told.has_input_and_output
        else usage.count_answer_content(body),
        served_model=served if isinstance(served, str) else None,
        response_id=parse_response_id(value.get("id")),
        finish=reasons[0] if reasons else None,
        complete=problem is None and all(reasons),
        problem=problem,
    )


def decode_response(body: bytes) -> list[Event]:
    """A whole answer. A 200 with an error, HTML or nothing in it is a Failed."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return [Failed(make_broken_problem("an answer that is not JSON"))]
    problem, _ = check_answer(value, body)
    if problem is not None:
        return [Failed(problem)]
    start = make_start(value)
    out: list[Event] = [start]
    for at, choice in enumerate(value["choices"]):
        if isinstance(choice, dict):
            voice = ChoiceDecoder(read_index(choice, at), start)
            voice.hear(choice, _number_calls(choice), out)
            voice.close(out)
    told = usage.find(value)
    if told is not None:
        out.append(UsageUpdate(told))
    out.append(End())
    return out


def _number_calls(choice: Object) -> Json:
    """The message of a choice, its calls numbered: each is one of its own."""
    message = choice.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), list):
        return message
    calls = message["tool_calls"]
    numbered = [{**it, "index": at} for at, it in enumerate(calls) if isinstance(it, dict)]
    return {**message, "tool_calls": numbered}


def encode_response(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """A whole answer: what its stream says, with usage in any case."""
    chunks = StreamEncoder(msgspec.structs.replace(telling, stream_usage=True), first=None)
    return fold(b"".join([chunks.write(event) for event in events]))


def fold(stream: bytes) -> bytes:
    """The whole answer that says what a stream of chunks said."""
    whole: Object = {}
    choices: dict[int, Object] = {}
    for frame in sse.split_frames(stream):
        payload = sse.read_data(frame)
        if not payload or payload.startswith(b"[DONE]"):
            continue
        chunk = jsonio.loads(payload)
        for choice in chunk.pop("choices", None) or ():
            _merge_choice(choices.setdefault(choice.get("index", 0), {}), choice)
        for name, value in chunk.items():
            _set(whole, name, value)
    whole.pop("obfuscation", None)
    whole["object"] = "chat.completion"
    usage = whole.pop("usage", None)
    whole["choices"] = [_complete_choice(choices[index]) for index in sorted(choices)]
    if usage is not None:
        whole["usage"] = usage
    return jsonio.dumps(whole)


def _complete_choice(choice: Object) -> Object:
    """A choice with what every whole one has: hosts may leave a finish or a call's type out."""
    for call in choice["message"].get("tool_calls") or ():
        call.pop("index", None)
        call.setdefault("type", "function")
    return {**choice, "finish_reason": choice.get("finish_reason")}


def _merge_choice(into: Object, choice: Object) -> None:
    into.setdefault("index", choice.get("index", 0))
    message = into.setdefault("message", {"role": "assistant", "content": None})
    _merge(message, choice.get("delta") or {})
    for name, value in choice.items():
        if name == "logprobs" and isinstance(value, dict):
            held = into.get("logprobs") or {}
            into["logprobs"] = {
                key: _listed(held.get(key), value.get(key)) for key in {**held, **value}
            }
        elif name not in ("index", "delta"):
            _set(into, name, value)


def _listed(held: Json, more: Json) -> Json:
    """Log probabilities so far, and those of one more piece; null says nothing."""
    if isinstance(held, list) and isinstance(more, list):
        return [*held, *more]
    return held if more is None else more


def _set(into: Object, name: str, value: Json) -> None:
    """The last value stands; null, and an empty string after another value, say nothing."""
    if name not in into or value not in (None, "") or (value == "" and into[name] is None):
        into[name] = value


def _merge(into: Object, delta: Object) -> None:
    for name, value in delta.items():
        held = into.get(name)
        if name == "tool_calls" and isinstance(value, list):
            into[name] = _merge_calls(held or [], value)
        elif name == "content" and list in (type(held), type(value)):
            into[name] = _merge_parts(_list_parts(held), _list_parts(value))
        elif name == "reasoning_details" and isinstance(value, list):
            into[name] = _merge_details(held or [], value)
        elif isinstance(value, dict) and isinstance(held, dict):
            _merge(held, value)
        elif isinstance(value, list) and isinstance(held, list):
            into[name] = [*held, *value]
        elif isinstance(value, str) and isinstance(held, str) and name in _JOINED:
            into[name] = held + value
        else:
            _set(into, name, value)


def _merge_calls(held: list[Object], pieces: list[Object]) -> list[Object]:
    """Calls are told apart by index; where hosts give none or the same, by another id and name."""
    for piece in pieces:
        index = piece.get("index")
        call = next((c for c in reversed(held) if index in (None, c.get("index"))), None)
        if call is None or (_begins(piece) and piece["id"] != call.get("id")):
            call = {}
            held.append(call)
        _merge(call, piece)
    return held


def _begins(piece: Object) -> bool:
    """Whether a piece may be the first of a call: the others have no name, or no id."""
    function = piece.get("function")
    return bool(piece.get("id") and isinstance(function, dict) and function.get("name"))


def _list_parts(content: Json) -> list[Object]:
    """Content as parts: Mistral streams thinking as a list and the text after it as a string."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _merge_parts(held: list[Object], pieces: list[Object]) -> list[Object]:
    for piece in pieces:
        last = held[-1] if held else {}
        if piece.get("type") == last.get("type") == "text":
            _merge(last, piece)
        elif piece.get("type") == last.get("type") == "thinking":
            more = _list_parts(piece.get("thinking"))
            last["thinking"] = _merge_parts(_list_parts(last.get("thinking")), more)
        else:
            held = [*held, piece]
    return held


def _merge_details(held: list[Object], pieces: list[Object]) -> list[Object]:
    """OpenRouter's blocks of reasoning: pieces of one have its type and its index."""
    for piece in pieces:
        last = held[-1] if held else {}
        same = all(piece.get(name) == last.get(name) for name in ("type", "index"))
        if same and isinstance(piece.get("index"), int):
            _merge(last, piece)
        else:
            held = [*held, piece]
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
            message["tool_calls"] = [{**call, "index": at} for at, call in enumerate(calls)]
        more = {
            name: item
            for name, item in choice.items()
            if name not in ("message", "delta", "finish_reason", "index")
        }
        index = choice.get("index", 0)
        said = {"index": index, "delta": message, **more, "finish_reason": None}
        ended = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        frames += [{**head, "choices": [said]}, {**head, "choices": [ended]}]
    if with_usage and usage is not None:
        frames.append({**head, "choices": [], "usage": usage})
    return b"".join([sse.write_frame(jsonio.dumps(item)) for item in frames]) + sse.write_frame(
        b"[DONE]"
    )


def fill_usage(whole: bytes, usage: Usage | None) -> bytes:
    """A whole answer with usage: its own, else `usage`, where that is known."""
    told = write_usage(usage)
    members = jsonio.read_members(whole)
    if told is None or "usage" in members:
        return whole
    return jsonio.join_members({**members, "usage": msgspec.Raw(jsonio.dumps(told))})
