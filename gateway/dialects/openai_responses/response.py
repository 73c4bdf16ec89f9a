"""A recorded stream as a whole answer, and a whole answer as a stream: the same words either way.

The terminal event holds the whole answer, in the provider's own members; where its output is left
out (Codex's provider does so), it is that of the items as they were done. Source: the streaming
events of OpenAI's API reference.
"""

from collections.abc import Iterable, Iterator

from gateway.core import jsonio, sse
from gateway.core.events import Event, Failed
from gateway.core.jsonio import Json
from gateway.dialects.base import ResponseContext, ResponseSummary, parse_response_id
from gateway.dialects.openai_responses import usage
from gateway.dialects.openai_responses.content import Object, count_content_bytes
from gateway.dialects.openai_responses.errors import (
    find_problem,
    is_complete,
    is_pending,
    is_working,
    read_finish,
)
from gateway.dialects.openai_responses.stream_decoder import Decoder
from gateway.dialects.openai_responses.stream_encoder import Encoder, FrameWriter
from gateway.dialects.stream_commit import DONE_PAYLOAD, make_broken_problem


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or nothing in it is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    if not isinstance(value, dict):
        return ResponseSummary(problem=find_problem(value))
    pending = is_pending(value)
    problem = None if pending else find_problem(value)
    served, told = value.get("model"), usage.read_response(value)
    output = value.get("output")
    made = output if isinstance(output, list) else []
    return ResponseSummary(
        usage=told,
        content_bytes=0
        if told is not None and told.has_input_and_output
        else sum(map(count_content_bytes, made)),
        served_model=served if isinstance(served, str) else None,
        response_id=parse_response_id(value.get("id")),
        finish=read_finish(value),
        complete=problem is None and is_complete(value),
        is_pending=pending,
        problem=problem,
    )


def decode_response(data: bytes) -> list[Event]:
    """A whole answer as events. Never raises: what is no answer is a Failed."""
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return [Failed(make_broken_problem("an answer that is not JSON"))]
    problem = find_problem(value)
    return Decoder().whole(value) if problem is None else [Failed(problem)]


def encode_response(events: Iterable[Event], telling: ResponseContext) -> bytes:
    """Events as a whole answer: what the terminal event of their stream holds."""
    encoder = Encoder(telling)
    for event in events:
        encoder.write(event)
    return jsonio.dumps(encoder.response)


def fold(stream: bytes) -> bytes:
    """The whole answer that says what a stream said."""
    response: Object = {}
    items: dict[int, Json] = {}
    for frame in sse.split_frames(stream):
        payload = sse.read_data(frame)
        if not payload or payload.startswith(DONE_PAYLOAD):
            continue
        event = jsonio.loads(payload)
        if event.get("type") == "response.output_item.done":
            items[event.get("output_index", len(items))] = event["item"]
        elif isinstance(event.get("response"), dict):
            response |= event["response"]  # hosts leave out at the end what they said before
    if not response.get("output"):
        response["output"] = [items[at] for at in sorted(items)]
    return jsonio.dumps(response)


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - this dialect always tells it
    """The stream that says what a whole answer said: each text and each argument in one piece."""
    response = jsonio.loads(whole)
    status = response.get("status")
    begun = {**response, "status": "in_progress", "output": []}
    begun |= {name: None for name in ("usage", "incomplete_details") if name in response}
    said = FrameWriter()
    out = [said.frame("response.created", response=begun)]
    out.append(said.frame("response.in_progress", response=begun))
    for at, item in enumerate(response.get("output") or ()):
        out += _unfold_item(said, at, item)
    if not is_working(response):  # else it has no end yet
        kind = "response.incomplete" if status == "incomplete" else "response.completed"
        out.append(said.frame(kind, response=response))
    return b"".join(out)


_CALL_TEXTS = {"function_call": "arguments", "custom_tool_call": "input"}
_CALL_EVENTS = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
}


def _unfold_item(said: FrameWriter, at: int, item: Object) -> Iterator[bytes]:
    kind = item.get("type")
    where: Object = {"item_id": item.get("id"), "output_index": at}
    begun = dict(item)
    if "status" in item:
        begun["status"] = "in_progress"
    for name in ("content", "summary"):
        if isinstance(item.get(name), list):
            begun[name] = []
    text = _CALL_TEXTS.get(kind) if isinstance(kind, str) else None
    if text is not None:
        begun[text] = ""
    yield said.frame("response.output_item.added", output_index=at, item=begun)
    if text is not None:
        value, event = item.get(text) or "", _CALL_EVENTS[str(kind)]
        yield said.frame(f"{event}.delta", **where, delta=value)
        yield said.frame(f"{event}.done", **where, **{text: value})
    for index, part in enumerate(item.get("summary") or ()):
        yield from _unfold_part(said, {**where, "summary_index": index}, part)
    for index, part in enumerate(item.get("content") or ()):
        yield from _unfold_part(said, {**where, "content_index": index}, part)
    yield said.frame("response.output_item.done", output_index=at, item=item)


_PART_EVENTS = {
    "output_text": ("response.content_part", "response.output_text", "text"),
    "refusal": ("response.content_part", "response.refusal", "refusal"),
    "summary_text": (
        "response.reasoning_summary_part",
        "response.reasoning_summary_text",
        "text",
    ),
    "reasoning_text": ("response.content_part", "response.reasoning_text", "text"),
}
"""By type of a part: the names of its own events, of those of its text, and of that text."""


def _unfold_part(said: FrameWriter, where: Object, part: Object) -> Iterator[bytes]:
    kind = part.get("type")
    known = _PART_EVENTS.get(kind) if isinstance(kind, str) else None
    if known is None:
        return  # it stands in the item that is done
    event, text, name = known
    value = part.get(name) or ""
    begun = {**part, name: ""}
    begun |= {list_: [] for list_ in ("annotations", "logprobs") if list_ in part}
    yield said.frame(f"{event}.added", **where, part=begun)
    more: Object = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    yield said.frame(f"{text}.delta", **where, delta=value, **more)
    for index, note in enumerate(part.get("annotations") or ()):
        yield said.frame(
            "response.output_text.annotation.added",
            **where,
            annotation_index=index,
            annotation=note,
        )
    yield said.frame(f"{text}.done", **where, **{name: value}, **more)
    yield said.frame(f"{event}.done", **where, part=part)
