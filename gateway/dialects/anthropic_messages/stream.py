"""Messages streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --message_stop--> complete

Frames before the first content (message_start, pings, a block that begins empty) are held; nothing
is held after it but a frame that has not ended. A frame is only parsed before the commit point, or
where a cheap search finds that it tells usage, an error or an end; the rest is never looked into.
Only `message_stop` is an end: SDKs take a stream without it for a whole one.
"""

import re

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.core.problem import Problem
from gateway.core.usage import Usage
from gateway.dialects.anthropic_messages import problems, usage
from gateway.dialects.base import Body, Watch

_TELLS = re.compile(
    rb'"type"\s*:\s*"(?:message_(?:start|delta|stop)|error)"|"error"\s*:|\[DONE\]|event:\s*error'
)
_ERROR = re.compile(rb"^event:[ ]?error\r?$", re.MULTILINE)
_DONE = b"[DONE]"
_BEGIN_EMPTY = {"text": "text", "thinking": "thinking"}
"""Blocks that say nothing when they begin, and the member that then fills; others come whole."""
_MOST_HELD = 1 << 20
"""Bytes held before the first content; lifecycle frames are a few hundred, so more is content."""


def watch(body: Body) -> Watch:  # noqa: ARG001 - what was asked changes nothing here
    """The state of one stream that answers `body`."""
    return _Stream()


class _Stream:
    """What one stream has said so far; see Watch."""

    __slots__ = (
        "_held", "_rest", "_stopped", "_told", "committed", "finish", "problem", "served", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.committed = False
        self.usage: Usage | None = None
        self.served: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None
        self._told: dict[str, Json] = {}
        self._rest = b""
        self._held = b""
        self._stopped = False

    @property
    def complete(self) -> bool:
        """Whether it ended with `message_stop`, and no error came."""
        return self._stopped and self.problem is None

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what may go on now. Nothing does after an error."""
        if self.problem is not None:
            return b""
        data = self._rest + data if self._rest else data
        end = sse.cut(data)
        if end != len(data):
            self._rest = data[end:]
            data = data[:end]
        else:
            self._rest = b""
        return self._pass(data) if data else b""

    def end(self) -> bytes:
        """Take the end of the stream: a frame may lack its blank line; half a frame is none."""
        rest, self._rest = self._rest, b""
        if self.problem is not None or not _whole(rest):
            return b""
        return self._pass(rest)

    def _pass(self, data: bytes) -> bytes:
        if not (self.committed and _TELLS.search(data) is None):
            data = self._read(data)
        if self.committed:
            if self._held:
                data, self._held = self._held + data, b""
            return data
        self._held += data
        if len(self._held) > _MOST_HELD:
            self.committed = True
            data, self._held = self._held, b""
            return data
        return b""

    def _read(self, data: bytes) -> bytes:
        kept: list[bytes] = []
        for frame in sse.frames(data):
            plain = self.committed and _TELLS.search(frame) is None
            payload = b"" if plain else sse.data(frame)
            if payload and self._glance(payload, error=_ERROR.search(frame) is not None):
                # It stays here; blank lines before it are of no frame, wherever a read ended.
                frame = frame[: -len(frame.lstrip(b"\r\n"))]  # noqa: PLW2901
            if self.problem is not None:
                return b"".join([*kept, frame]) if self.committed else b""
            kept.append(frame)
        return b"".join(kept)

    def _glance(self, payload: bytes, *, error: bool) -> bool:
        """Read one event; tell whether it stays here: what is none, an error that no SDK sees.

        OpenRouter ends also these streams with `[DONE]`, at which the official SDK raises.
        """
        if payload.startswith(_DONE):
            return True
        try:
            event = jsonio.loads(payload)
        except jsonio.JsonError:
            event = None
        kind = event.get("type") if isinstance(event, dict) else None
        if error or kind == "error" or (isinstance(event, dict) and event.get("error")):
            said = event.get("error") if isinstance(event, dict) else None
            self.problem = problems.found(said, payload)
            return not error or kind != "error"  # an SDK knows it by the name, a reader by the type
        if not isinstance(event, dict):
            message = "The provider sent a broken frame."
            self.problem = Problem(kind="upstream_error", message=message, spent="maybe")
            return True
        if kind == "message_start":
            self._start(event.get("message"))
        elif kind == "message_delta":
            self._delta(event)
        elif kind == "message_stop":
            self._stopped = self.committed = True
        elif not self.committed:
            self.committed = _content(event)
        return False

    def _start(self, message: Json) -> None:
        if not isinstance(message, dict):
            return
        model, told = message.get("model"), message.get("usage")
        self.served = (model or None) if isinstance(model, str) else None
        if isinstance(told, dict):  # what has come out is not told yet
            self._told = {**told, "output_tokens": None}
            self.usage = usage.read(self._told)

    def _delta(self, event: dict[str, Json]) -> None:
        """The end of a message; its usage has running totals, and what it leaves out stands."""
        told, delta = event.get("usage"), event.get("delta")
        if isinstance(told, dict):
            self._told |= {name: value for name, value in told.items() if value is not None}
            self.usage = usage.read(self._told)
        finish = delta.get("stop_reason") if isinstance(delta, dict) else None
        if isinstance(finish, str):
            self.finish = finish
            self.committed = True


def _content(event: dict[str, Json]) -> bool:
    """Whether an event before the commit point holds content: from here nothing is retried."""
    if event.get("type") == "content_block_start":
        block = event.get("content_block")
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(block, dict) or not isinstance(kind, str):
            return False
        return kind not in _BEGIN_EMPTY or bool(block.get(_BEGIN_EMPTY[kind]))
    if event.get("type") == "content_block_delta":
        delta = event.get("delta")
        return isinstance(delta, dict) and any(v for k, v in delta.items() if k != "type")
    return False


def _whole(rest: bytes) -> bool:
    """Whether what stands at the end of a stream is a frame, or blank lines."""
    payload = sse.data(rest)
    if not payload:
        return not rest.strip(b"\r\n")
    try:
        return payload.startswith(_DONE) or isinstance(jsonio.loads(payload), dict)
    except jsonio.JsonError:
        return False
