"""A recorded stream as a whole answer, and a whole answer as a stream: the same words either way.

The terminal event holds the whole answer, in the provider's own members; where its output is left
out (Codex's provider does so), it is that of the items as they were done. Source: the streaming
events of OpenAI's API reference.
"""

from collections.abc import Iterator

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.dialects.openai_responses import ending
from gateway.dialects.openai_responses.frames import Numbered, Object
from gateway.dialects.stream_commit import DONE_PAYLOAD


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
    said = Numbered()
    out = [said.frame("response.created", response=begun)]
    out.append(said.frame("response.in_progress", response=begun))
    for at, item in enumerate(response.get("output") or ()):
        out += _item(said, at, item)
    if not ending.working(response):  # else it has no end yet
        kind = "response.incomplete" if status == "incomplete" else "response.completed"
        out.append(said.frame(kind, response=response))
    return b"".join(out)


_TEXTS = {"function_call": "arguments", "custom_tool_call": "input"}
_EVENTS = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
}


def _item(said: Numbered, at: int, item: Object) -> Iterator[bytes]:
    kind = item.get("type")
    where: Object = {"item_id": item.get("id"), "output_index": at}
    begun = dict(item)
    if "status" in item:
        begun["status"] = "in_progress"
    for name in ("content", "summary"):
        if isinstance(item.get(name), list):
            begun[name] = []
    text = _TEXTS.get(kind) if isinstance(kind, str) else None
    if text is not None:
        begun[text] = ""
    yield said.frame("response.output_item.added", output_index=at, item=begun)
    if text is not None:
        value, event = item.get(text) or "", _EVENTS[str(kind)]
        yield said.frame(f"{event}.delta", **where, delta=value)
        yield said.frame(f"{event}.done", **where, **{text: value})
    for index, part in enumerate(item.get("summary") or ()):
        yield from _part(said, {**where, "summary_index": index}, part)
    for index, part in enumerate(item.get("content") or ()):
        yield from _part(said, {**where, "content_index": index}, part)
    yield said.frame("response.output_item.done", output_index=at, item=item)


_PARTS = {
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


def _part(said: Numbered, where: Object, part: Object) -> Iterator[bytes]:
    kind = part.get("type")
    known = _PARTS.get(kind) if isinstance(kind, str) else None
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
