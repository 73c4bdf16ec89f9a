"""Messages streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --stop_reason, then message_stop--> complete

Frames before the first content (message_start, pings, a block that begins empty) are held; nothing
is held after it but a frame that has not ended. After the commit point a frame is only inspected
where it tells usage, an error or an end: of the rest the content is counted. Only `message_stop`
is an end: SDKs take a stream without it for whole. One that comes before a `stop_reason` stays
here: it would hide that the answer is cut.
"""

import re

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import amount, ending, errors, usage
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    RequestBody,
    StreamInspector,
    WrittenBody,
    parse_response_id,
)
from gateway.dialects.stream_commit import (
    DEFAULT_FINISH,
    DONE_PAYLOAD,
    StreamBuffer,
    make_broken_problem,
)

_ERROR = re.compile(rb"^event:[ ]?error\r?$", re.MULTILINE)


def watch(
    _body: RequestBody,
    _written: WrittenBody = EMPTY_WRITTEN_BODY,
    *,
    finish_optional: bool = False,
) -> StreamInspector:
    """Watch one stream. `finish_optional`: it may end without a reason why."""
    return _Stream(finish_optional=finish_optional)


class _Stream(StreamBuffer):
    """What one stream has said so far; see StreamInspector."""

    __slots__ = ("_finish_optional", "_stopped", "_told")

    def __init__(self, *, finish_optional: bool) -> None:
        super().__init__()
        self._finish_optional = finish_optional
        self._told: dict[str, Json] = {}
        self._stopped = False

    @property
    def complete(self) -> bool:
        """True if it ended with a reason and `message_stop`, and no error came."""
        return self._stopped and self.problem is None

    def _count(self, payload: bytes) -> bool:
        size, tells = amount.event(payload)
        self.content_bytes += size
        return tells

    def _inspect(self, frame: bytes, payload: bytes) -> bool:
        """Read one event; tell whether it stays here: what is none, an error that no SDK sees.

        OpenRouter ends also these streams with `[DONE]`, at which the official SDK raises.
        """
        if payload.startswith(DONE_PAYLOAD):
            return True
        error = _ERROR.search(frame) is not None
        try:
            event = jsonio.loads(payload)
        except jsonio.JsonError:
            event = None
        kind = event.get("type") if isinstance(event, dict) else None
        if error or kind == "error" or (isinstance(event, dict) and event.get("error")):
            said = event.get("error") if isinstance(event, dict) else None
            self.problem = errors.found(said, payload)
            return not error or kind != "error"  # an SDK knows it by the name, a reader by the type
        if not isinstance(event, dict):
            self.problem = make_broken_problem()
            return True
        if kind == "message_start":
            self._start(event.get("message"))
        elif kind == "message_delta":
            self._delta(event)
        elif kind == "message_stop":
            if self.finish is None and self._finish_optional and self.committed:
                self.finish = DEFAULT_FINISH
            self._stopped = self.finish is not None
            return not self._stopped
        elif not self.committed:
            self.committed = _content(event)
        return False

    def _start(self, message: Json) -> None:
        if not isinstance(message, dict):
            return
        model, told = message.get("model"), message.get("usage")
        self.served_model = (model or None) if isinstance(model, str) else None
        self.response_id = parse_response_id(message.get("id"))
        if isinstance(told, dict):  # what has come out is not told yet
            self._told = {**told, "output_tokens": None}
            self.usage = usage.read(self._told)

    def _delta(self, event: dict[str, Json]) -> None:
        """The end of a message; its usage has running totals, and what it leaves out stands."""
        told, delta = event.get("usage"), event.get("delta")
        if isinstance(told, dict):
            self._told = usage.merged(self._told, told)
            self.usage = usage.read(self._told)
        finish = ending.finish(delta)
        if finish is not None:
            self.finish = finish
            self.committed = True


def _content(event: dict[str, Json]) -> bool:
    """Whether an event before the commit point holds content: from here nothing is retried."""
    if event.get("type") == "content_block_start":
        return ending.speaks(event.get("content_block"))
    if event.get("type") == "content_block_delta":
        delta = event.get("delta")
        return isinstance(delta, dict) and any(v for k, v in delta.items() if k != "type")
    return False
