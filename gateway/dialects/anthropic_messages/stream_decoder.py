"""Messages answers as events: whole ones and streams.

Usage in a stream is cumulative: what a later event leaves out stands. Only `message_stop` ends an
answer; what comes after it (hosts send `[DONE]`) is not read.
"""

import re

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
from gateway.core.events import End, Event, Failed, Finish, FinishReason, Start, UsageUpdate
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import answer, ending, errors, usage
from gateway.dialects.anthropic_messages.content import Content
from gateway.dialects.stream_commit import DONE_PAYLOAD, MAX_FRAME_BYTES, make_broken_problem

type Object = dict[str, Json]

REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "refusal": "filter",
    "pause_turn": "pause",
    "compaction": "pause",
}
"""By the API's own word; the conversation goes on after a pause or a compaction."""

_NAME = re.compile(rb"^event:[ ]?([^\r\n]*)", re.MULTILINE)


def events(body: bytes) -> list[Event]:
    """A whole answer. A 200 with an error, HTML or nothing in it is a Failed."""
    problem = answer.glance(body).problem
    if problem is not None:
        return [Failed(problem)]
    value = jsonio.loads(body)
    out: list[Event] = [_start(value)]
    content = Content()
    for at, block in enumerate(value["content"]):
        if isinstance(block, dict):
            content.begin(at, block, out)
            content.stop(at, out)
    told = usage.read(value.get("usage"))
    if told is not None:
        out.append(UsageUpdate(told))
    out += [_finish(value), End()]
    return out


class Stream:
    """One stream of events; see Decoder."""

    __slots__ = ("_content", "_finished", "_over", "_told", "_whole")

    def __init__(self) -> None:
        self._whole = sse.FrameSplitter()
        self._over = self._finished = False
        """Over: nothing is read any more, as it has ended or failed."""
        self._told: Object = {}
        self._content = Content()

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        out: list[Event] = []
        if self._over:
            return out
        data = self._whole.feed(data)
        for frame in sse.split_data_frames(data):
            payload = sse.read_data(frame)
            if payload and self._frame(frame, payload, out):
                return out
        if self._whole.size > MAX_FRAME_BYTES:
            self._fail(make_broken_problem("a frame without an end"), out)
        return out

    def end(self) -> list[Event]:
        """Take the end of the stream: a frame may lack its blank line; half a frame is none."""
        out: list[Event] = []
        rest = self._whole.take_pending()
        payload = sse.read_data(rest)
        if payload and not self._over and _object(payload) is not None:
            self._frame(rest, payload, out)
        self._over = True
        return out

    def _frame(self, frame: bytes, payload: bytes, out: list[Event]) -> bool:
        """Read one frame; tell whether it was the last."""
        event = _object(payload)
        kind = event.get("type") if event is not None else None
        kind = kind if isinstance(kind, str) else None
        if event is not None and kind == "content_block_delta":
            delta = event.get("delta")
            if isinstance(delta, dict):
                self._content.grow(event.get("index"), delta, out)
        elif event is None or kind not in _KINDS or event.get("error"):
            self._odd(frame, payload, event, out)
        else:
            self._event(kind, event, out)
        return self._over

    def _odd(self, frame: bytes, payload: bytes, event: Object | None, out: list[Event]) -> None:
        """What is no event of an answer that goes well: an error, or what is to be left alone."""
        named = _NAME.search(frame)
        name = named.group(1).decode("utf-8", "replace").strip() if named else ""
        error = event.get("error") if event is not None else None
        if name == "error" or error or (event is not None and event.get("type") == "error"):
            self._fail(errors.found(error, payload), out)
        elif event is None:
            if not payload.startswith(DONE_PAYLOAD):
                self._fail(make_broken_problem(), out)
        elif event.get("type") is None and name in _KINDS:  # hosts that name it once
            self._event(name, event, out)

    def _event(self, kind: str, event: Object, out: list[Event]) -> None:
        if kind == "content_block_start":
            block = event.get("content_block")
            if isinstance(block, dict):
                self._content.begin(event.get("index"), block, out)
        elif kind == "content_block_stop":
            self._content.stop(event.get("index"), out)
        elif kind == "message_start":
            message = event.get("message")
            if isinstance(message, dict):
                self._begin(message, out)
        elif kind == "message_delta":
            self._delta(event, out)
        else:
            self._content.close(out)
            if not self._finished:
                out.append(Finish("cut"))
            out.append(End())
            self._over = True

    def _begin(self, message: Object, out: list[Event]) -> None:
        told = message.get("usage")
        if isinstance(told, dict):  # what has come out is not told yet
            self._told = {**told, "output_tokens": None}
        out.append(_start(message, self._told))

    def _delta(self, event: Object, out: list[Event]) -> None:
        self._content.close(out)
        told, delta = event.get("usage"), event.get("delta")
        if isinstance(told, dict):
            self._told = usage.merged(self._told, told)
            read = usage.read(self._told)
            if read is not None:
                out.append(UsageUpdate(read))
        if isinstance(delta, dict) and ending.finish(delta) is not None:
            if not self._finished:
                out.append(_finish(delta))
            self._finished = True

    def _fail(self, problem: Problem, out: list[Event]) -> None:
        out.append(Failed(problem))
        self._over = True


_KINDS = frozenset(
    {
        "message_start", "content_block_start", "content_block_stop", "message_delta",
        "message_stop",
    }
)  # fmt: skip


def decoder() -> Stream:
    """The state of one stream."""
    return Stream()


def _start(message: Object, told: Json = None) -> Start:
    id, model = message.get("id"), message.get("model")
    return Start(
        id=id if isinstance(id, str) else None,
        model=(model or None) if isinstance(model, str) else None,
        usage=usage.read(told),
    )


def _finish(said: Object) -> Finish:
    """Why it ended; a word that is not known ends it as well as any."""
    word, stop = ending.finish(said), said.get("stop_sequence")
    if word is None:
        return Finish("cut")
    return Finish(REASONS.get(word, "stop"), word, stop if isinstance(stop, str) else None)


def _object(payload: bytes) -> Object | None:
    try:
        value = jsonio.loads(payload)
    except jsonio.JsonError:
        return None
    return value if isinstance(value, dict) else None
