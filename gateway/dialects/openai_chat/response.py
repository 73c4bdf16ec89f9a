"""Whole answers: summary for accounting, translation to and from events, fold and unfold.

Fold makes a whole answer from a recorded stream; unfold makes a stream from a whole answer. Both
keep members that the gateway does not know (fingerprints, service tiers, hosts' extensions). Fold
merges tool calls by `index`, and joins their arguments and all text. Sources: the chunk and
completion objects of OpenAI's API reference.
"""

from collections.abc import Iterable

import msgspec

from gateway.core import jsonio, sse
from gateway.core.events import End, Event, Failed
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.base import ResponseContext, ResponseSummary
from gateway.dialects.openai_chat import usage
from gateway.dialects.openai_chat.content import read_finish_reason, read_index
from gateway.dialects.openai_chat.errors import check_answer
from gateway.dialects.openai_chat.schema import ANSWER
from gateway.dialects.openai_chat.stream import ChatStreamFacts, read_frame, write_chunk
from gateway.dialects.openai_chat.stream_decoder import ChoiceDecoder, list_usage, make_start
from gateway.dialects.openai_chat.stream_encoder import StreamEncoder
from gateway.dialects.openai_chat.usage import write_usage
from gateway.dialects.stream_frames import (
    DONE_PAYLOAD,
    iterate_frames,
    make_broken_problem,
    name_unread_members,
)

type Object = dict[str, Json]

_CONCATENATED = frozenset(
    {
        "content", "refusal", "reasoning_content", "reasoning", "reasoning_text", "arguments",
        "input", "text", "summary", "data", "transcript",
    }
)  # fmt: skip
"""Strings that come in pieces; of any other string the last one counts."""


def summarize(body: bytes) -> ResponseSummary:
    """Read the facts for accounting. A 200 with an error, HTML or no content is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    problem, reasons = check_answer(value, body)
    if not isinstance(value, dict):
        return ResponseSummary(problem=problem)
    facts = ChatStreamFacts()
    facts.take(value)
    counts = facts.usage
    return ResponseSummary(
        usage=counts,
        content_bytes=0
        if counts is not None and counts.has_input_and_output
        else usage.count_answer_content(body),
        served_model=facts.served_model,
        response_id=facts.response_id,
        finish=reasons[0] if reasons else None,
        complete=problem is None and all(reasons),
        problem=problem,
    )


def decode_response(body: bytes) -> list[Event]:
    """Return the events of a whole answer. A 200 with an error, HTML or no content is a Failed."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return [Failed(make_broken_problem("an answer that is not JSON"))]
    problem, _ = check_answer(value, body)
    facts = ChatStreamFacts()
    if isinstance(value, dict):
        facts.take(value)
    start = make_start(facts)
    usage_events = list_usage(facts, start.usage)
    if problem is not None:
        start_events = [start, *usage_events] if facts.has_any else []
        return [*start_events, Failed(problem)]
    out: list[Event] = [start]
    for at, choice in enumerate(value["choices"]):
        if isinstance(choice, dict):
            decoder = ChoiceDecoder(read_index(choice, at), start)
            decoder.add_piece(choice, _number_calls(choice), out)
            if at == 0:
                decoder.add_sources(value, out)
            decoder.close(read_finish_reason(choice), out)
    return [*out, *usage_events, *name_unread_members(value, ANSWER), End()]


def _number_calls(choice: Object) -> Json:
    """Return the message of a choice with an index in each call, so that calls stay separate."""
    message = choice.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), list):
        return message
    calls = message["tool_calls"]
    numbered = [{**it, "index": at} for at, it in enumerate(calls) if isinstance(it, dict)]
    return {**message, "tool_calls": numbered}


type _CallsByIndex = dict[int | None, Object]
"""The last call with each index of the host; under None the last of all."""


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Write a whole answer: the fold of its stream, always with usage."""
    encoder = StreamEncoder(msgspec.structs.replace(context, stream_usage=True), first=None)
    return fold(b"".join([encoder.write(event) for event in events]))


def fold(stream: bytes) -> bytes:
    """Make the whole answer from a stream of chunks. Raises ValueError for a broken frame."""
    whole: Object = {}
    choices: dict[int, Object] = {}
    calls: dict[int, _CallsByIndex] = {}
    for frame in iterate_frames(stream, read_frame):
        if frame.problem is not None and not frame.value:
            raise ValueError(frame.problem.message)
        for choice in frame.value.get("choices") or ():
            at = choice.get("index", 0)
            _merge_choice(choices.setdefault(at, {}), choice, calls.setdefault(at, {}))
        for name, value in frame.value.items():
            if name != "choices":
                _set_member(whole, name, value)
    whole.pop("obfuscation", None)
    whole["object"] = "chat.completion"
    usage = whole.pop("usage", None)
    whole["choices"] = [_complete_choice(choices[index]) for index in sorted(choices)]
    if usage is not None:
        whole["usage"] = usage
    return jsonio.dumps(whole)


def _complete_choice(choice: Object) -> Object:
    """Add the members of a whole choice: hosts may leave out the finish reason or a call's type."""
    for call in choice["message"].get("tool_calls") or ():
        call.pop("index", None)
        call.setdefault("type", "function")
    return {**choice, "finish_reason": choice.get("finish_reason")}


def _merge_choice(into: Object, choice: Object, calls: _CallsByIndex) -> None:
    into.setdefault("index", choice.get("index", 0))
    message = into.setdefault("message", {"role": "assistant", "content": None})
    delta = choice.get("delta") or {}
    pieces = delta.get("tool_calls")
    if isinstance(pieces, list):
        del delta["tool_calls"]
        message["tool_calls"] = message.get("tool_calls") or []
        _merge_calls(message["tool_calls"], pieces, calls)
    _merge(message, delta)
    for name, value in choice.items():
        if name == "logprobs" and isinstance(value, dict):
            logprobs = into.get("logprobs") or {}
            into["logprobs"] = {
                key: _join_lists(logprobs.get(key), value.get(key)) for key in {**logprobs, **value}
            }
        elif name not in ("index", "delta"):
            _set_member(into, name, value)


def _join_lists(held: Json, more: Json) -> Json:
    """Join log probabilities with those of one more piece; null adds nothing."""
    if isinstance(held, list) and isinstance(more, list):
        return [*held, *more]
    return held if more is None else more


def _set_member(into: Object, name: str, value: Json) -> None:
    """Keep the last value; null, and an empty string after another value, change nothing."""
    if name not in into or value not in (None, "") or (value == "" and into[name] is None):
        into[name] = value


def _merge(into: Object, delta: Object) -> None:
    for name, value in delta.items():
        held = into.get(name)
        if name == "content" and list in (type(held), type(value)):
            into[name] = _merge_parts(_list_parts(held), _list_parts(value))
        elif name == "reasoning_details" and isinstance(value, list):
            into[name] = _merge_details(held or [], value)
        elif isinstance(value, dict) and isinstance(held, dict):
            _merge(held, value)
        elif isinstance(value, list) and isinstance(held, list):
            into[name] = [*held, *value]
        elif isinstance(value, str) and isinstance(held, str) and name in _CONCATENATED:
            into[name] = held + value
        else:
            _set_member(into, name, value)


def _merge_calls(held: list[Object], pieces: list[Object], calls: _CallsByIndex) -> None:
    """Merge calls by index; if hosts give none or the same, a new id and name begin a call."""
    for piece in pieces:
        index = piece.get("index")
        call = calls.get(index)
        if call is None or (_begins(piece) and piece["id"] != call.get("id")):
            call = {}
            held.append(call)
            calls[index] = calls[None] = call
        _merge(call, piece)


def _begins(piece: Object) -> bool:
    """True if a piece may begin a call: later pieces have no name, or no id."""
    function = piece.get("function")
    return bool(piece.get("id") and isinstance(function, dict) and function.get("name"))


def _list_parts(content: Json) -> list[Object]:
    """Return content as parts: Mistral streams thinking as a list and text as a string."""
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
    """Merge OpenRouter's reasoning blocks: pieces of one block share its type and index."""
    for piece in pieces:
        last = held[-1] if held else {}
        same = all(piece.get(name) == last.get(name) for name in ("type", "index"))
        if same and isinstance(piece.get("index"), int):
            _merge(last, piece)
        else:
            held = [*held, piece]
    return held


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: FBT001 - Dialect calls it by position
    """Make a stream from a whole answer: for each choice a chunk and a finish, then `[DONE]`."""
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
        other_members = {
            name: item
            for name, item in choice.items()
            if name not in ("message", "delta", "finish_reason", "index")
        }
        index = choice.get("index", 0)
        content_choice = {"index": index, "delta": message, **other_members, "finish_reason": None}
        final_choice = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        frames += [{**head, "choices": [content_choice]}, {**head, "choices": [final_choice]}]
    if with_usage and usage is not None:
        frames.append({**head, "choices": [], "usage": usage})
    return b"".join(map(write_chunk, frames)) + sse.write_frame(DONE_PAYLOAD)


def fill_usage(whole: bytes, usage: Usage | None) -> bytes:
    """Return a whole answer with usage: its own, else `usage` if that is known."""
    value = write_usage(usage)
    members = jsonio.read_members(whole)
    if value is None or "usage" in members:
        return whole
    return jsonio.join_members({**members, "usage": msgspec.Raw(jsonio.dumps(value))})
