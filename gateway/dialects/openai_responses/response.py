"""Whole answers: read for accounting, decoded, encoded, folded from a stream, unfolded to one.

The terminal event of a stream holds the whole answer, in the provider's own members. If its output
is missing (with Codex's provider), the output is that of the finished items. Source: the streaming
events of OpenAI's API reference.
"""

from collections.abc import Iterable, Iterator

from gateway.core import jsonio
from gateway.core.events import Event, Failed, UsageUpdate
from gateway.core.jsonio import Json
from gateway.dialects.base import ResponseContext, ResponseSummary
from gateway.dialects.openai_responses.content import Object, count_content_bytes
from gateway.dialects.openai_responses.errors import (
    find_error,
    find_problem,
    is_complete,
    is_pending,
    is_working,
)
from gateway.dialects.openai_responses.stream import (
    COMPLETE_EVENTS,
    ITEM_DONE,
    ResponsesStreamFacts,
    read_frame,
)
from gateway.dialects.openai_responses.stream_decoder import Decoder
from gateway.dialects.openai_responses.stream_encoder import Encoder, FrameWriter
from gateway.dialects.stream_frames import iterate_frames, make_broken_problem


def summarize(body: bytes) -> ResponseSummary:
    """Read what accounting needs. A 200 with an error, HTML or no content is a problem."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return ResponseSummary(problem=make_broken_problem("an answer that is not JSON"))
    if not isinstance(value, dict):
        return ResponseSummary(problem=find_problem(value))
    pending = is_pending(value)
    problem = None if pending else find_problem(value)
    facts = ResponsesStreamFacts()
    facts.read_response(value)
    output = value.get("output")
    items = output if isinstance(output, list) else []
    return ResponseSummary(
        usage=facts.usage,
        content_bytes=0
        if facts.usage is not None and facts.usage.has_input_and_output
        else sum(map(count_content_bytes, items)),
        served_model=facts.served_model,
        response_id=facts.response_id,
        finish=facts.finish,
        complete=problem is None and is_complete(value),
        is_pending=pending,
        problem=problem,
    )


def decode_response(data: bytes) -> list[Event]:
    """Decode a whole answer. Never raises: a body that is no answer becomes a Failed."""
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return [Failed(make_broken_problem("an answer that is not JSON"))]
    problem = find_problem(value)
    if problem is None:
        return Decoder().read_whole(value)
    facts = ResponsesStreamFacts()
    if isinstance(value, dict):
        facts.read_response(value)
    billed: list[Event] = [UsageUpdate(facts.usage)] if facts.usage is not None else []
    return [*billed, Failed(problem)]


def encode_response(events: Iterable[Event], context: ResponseContext) -> bytes:
    """Encode events as a whole answer: the one in the terminal event of their stream."""
    encoder = Encoder(context)
    for event in events:
        encoder.write(event)
    return jsonio.dumps(encoder.response)


def fold(stream: bytes) -> bytes:
    """Fold a recorded stream into the whole answer with the same content.

    Raises LookupError if no event has a response: then there is no whole answer.
    """
    response: Object = {}
    items: dict[int, Json] = {}
    for frame in iterate_frames(stream, read_frame):
        event = frame.value
        if frame.kind == ITEM_DONE:
            items[event.get("output_index", len(items))] = event["item"]
        elif isinstance(event.get("response"), dict):
            response |= event["response"]  # hosts leave out at the end what came before
            if (
                frame.kind in COMPLETE_EVENTS
                and not is_complete(response)
                and find_error(response) is None
            ):
                response["status"] = frame.kind.removeprefix("response.")
    if not response:
        raise LookupError("no event has a response")
    if not response.get("output"):
        response["output"] = [items[index] for index in sorted(items)]
    return jsonio.dumps(response)


def unfold(whole: bytes, with_usage: bool) -> bytes:  # noqa: ARG001, FBT001 - this dialect always tells it
    """Unfold a whole answer into a stream: each text and each argument in one delta."""
    response = jsonio.loads(whole)
    status = response.get("status")
    unfinished = {**response, "status": "in_progress", "output": []}
    unfinished |= {name: None for name in ("usage", "incomplete_details") if name in response}
    frames = FrameWriter()
    chunks = [frames.write_frame("response.created", response=unfinished)]
    chunks.append(frames.write_frame("response.in_progress", response=unfinished))
    for index, item in enumerate(response.get("output") or ()):
        chunks += _unfold_item(frames, index, item)
    if not is_working(response):  # else it has not ended yet
        kind = "response.incomplete" if status == "incomplete" else "response.completed"
        chunks.append(frames.write_frame(kind, response=response))
    return b"".join(chunks)


_CALL_TEXTS = {"function_call": "arguments", "custom_tool_call": "input"}
_CALL_EVENTS = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
}


def _unfold_item(frames: FrameWriter, item_index: int, item: Object) -> Iterator[bytes]:
    kind = item.get("type")
    place: Object = {"item_id": item.get("id"), "output_index": item_index}
    unfinished = dict(item)
    if "status" in item:
        unfinished["status"] = "in_progress"
    for name in ("content", "summary"):
        if isinstance(item.get(name), list):
            unfinished[name] = []
    text_member = _CALL_TEXTS.get(kind) if isinstance(kind, str) else None
    if text_member is not None:
        unfinished[text_member] = ""
    yield frames.write_frame("response.output_item.added", output_index=item_index, item=unfinished)
    if text_member is not None:
        text, event_prefix = item.get(text_member) or "", _CALL_EVENTS[str(kind)]
        yield frames.write_frame(f"{event_prefix}.delta", **place, delta=text)
        yield frames.write_frame(f"{event_prefix}.done", **place, **{text_member: text})
    for index, part in enumerate(item.get("summary") or ()):
        yield from _unfold_part(frames, {**place, "summary_index": index}, part)
    for index, part in enumerate(item.get("content") or ()):
        yield from _unfold_part(frames, {**place, "content_index": index}, part)
    yield frames.write_frame("response.output_item.done", output_index=item_index, item=item)


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
"""By type of a part: the prefix of its events, that of its text events, the member of its text."""


def _unfold_part(frames: FrameWriter, place: Object, part: Object) -> Iterator[bytes]:
    kind = part.get("type")
    names = _PART_EVENTS.get(kind) if isinstance(kind, str) else None
    if names is None:
        return  # the finished item has it
    part_prefix, text_prefix, text_member = names
    text = part.get(text_member) or ""
    unfinished = {**part, text_member: ""}
    unfinished |= {
        list_member: [] for list_member in ("annotations", "logprobs") if list_member in part
    }
    yield frames.write_frame(f"{part_prefix}.added", **place, part=unfinished)
    log_probs: Object = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    yield frames.write_frame(f"{text_prefix}.delta", **place, delta=text, **log_probs)
    for index, annotation in enumerate(part.get("annotations") or ()):
        yield frames.write_frame(
            "response.output_text.annotation.added",
            **place,
            annotation_index=index,
            annotation=annotation,
        )
    yield frames.write_frame(f"{text_prefix}.done", **place, **{text_member: text}, **log_probs)
    yield frames.write_frame(f"{part_prefix}.done", **place, part=part)
