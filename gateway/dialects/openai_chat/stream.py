"""Chat Completions streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --finish and [DONE]--> complete

Frames before the first content (role chunk, comments) are held; nothing is held after it but a
frame that has not ended. A frame is only parsed before the commit point, or where a cheap search
finds that it tells usage, an error or a finish; the rest is never looked into.
"""

import re

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.core.problem import Problem
from gateway.core.usage import Usage
from gateway.dialects.base import Body, Watch
from gateway.dialects.openai_chat import problems, request, usage

_TELLS = re.compile(
    rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[^n\s]|object"\s*:\s*"error")'
)
_DONE = b"[DONE]"
_CONTENT = (
    "content", "reasoning_content", "reasoning", "reasoning_text", "refusal", "tool_calls",
    "function_call", "audio", "reasoning_details",
)  # fmt: skip
_MOST_HELD = 1 << 20
"""Bytes held before the first content; lifecycle frames are a few hundred, so more is content."""

_MOST_FRAME = 32_000_000
"""Bytes of one frame: images in answers take some millions."""


def watch(body: Body) -> Watch:
    """The state of one stream that answers `body`."""
    return _Stream(hide_usage=not request.asks_usage(body), choices=body.prompt.choices)


class _Stream:
    """What one stream has said so far; see Watch."""

    __slots__ = (
        "_choices", "_done", "_finished", "_held", "_hide", "_rest", "_seen", "committed",
        "finish", "problem", "served", "usage",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool, choices: int) -> None:
        self.committed = False
        self.usage: Usage | None = None
        self.served: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None
        self._hide = hide_usage
        self._choices = choices
        self._rest = b""
        self._held = b""
        self._done = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether it ended: `[DONE]`, or a finish of every choice, as some hosts send no more."""
        if self.problem is not None:
            return False
        finished = len(self._finished)
        return self._done or (finished >= max(self._choices, len(self._seen), 1))

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what may go on now. Nothing does after an error."""
        if self.problem is not None:
            return b""
        data = self._rest + data if self._rest else data
        end = sse.cut(data)
        if end != len(data):
            self._rest = data[end:]
            data = data[:end]
            if len(self._rest) > _MOST_FRAME:
                message = "The provider sent a frame without an end."
                self.problem = Problem(kind="upstream_error", message=message, spent="maybe")
                return b""
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
        if not self._plain(data):
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

    def _plain(self, data: bytes) -> bool:
        """Whether frames say nothing that must be known: what was committed, and more of it."""
        if not self.committed or self._choices > 1:
            return False
        return _DONE not in data and _TELLS.search(data) is None

    def _read(self, data: bytes) -> bytes:
        kept: list[bytes] = []
        for frame in sse.frames(data):
            payload = b"" if self._plain(frame) else sse.data(frame)
            if payload.startswith(_DONE):
                self._done = self.committed = True
            elif payload and self._glance(payload):
                # It stays here; blank lines before it are of no frame, wherever a read ended.
                frame = frame[: -len(frame.lstrip(b"\r\n"))]  # noqa: PLW2901
            if self.problem is not None:
                return b"".join([*kept, frame]) if self.committed else b""
            kept.append(frame)
        return b"".join(kept)

    def _glance(self, payload: bytes) -> bool:
        """Read one chunk; tell whether it stays here: usage not asked for, or what is no chunk."""
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        if not isinstance(chunk, dict):
            message = "The provider sent a broken frame."
            self.problem = Problem(kind="upstream_error", message=message, spent="maybe")
            return True
        choices = chunk.get("choices")
        if self.served is None and isinstance(chunk.get("model"), str):
            self.served = chunk["model"] or None
        told = usage.find(chunk)
        if told is not None:
            self.usage = told
        error = chunk.get("error")
        if error or chunk.get("object") == "error":
            self.problem = problems.found(error or chunk, payload)
            return not error  # clients know an error by that member alone
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choice(choice)
        return self._hide and told is not None and not choices

    def _choice(self, choice: dict[str, Json]) -> None:
        index = choice.get("index")
        at = index if isinstance(index, int) else 0
        self._seen.add(at)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._finished.add(at)
            self.finish = finish
            self.committed = True
        delta = choice.get("delta")
        if not self.committed and isinstance(delta, dict):
            self.committed = any(delta.get(name) for name in _CONTENT)


def _whole(rest: bytes) -> bool:
    """Whether what stands at the end of a stream is a frame, or blank lines."""
    payload = sse.data(rest)
    if not payload:
        return not rest.strip(b"\r\n")
    try:
        return payload.startswith(_DONE) or isinstance(jsonio.loads(payload), dict)
    except jsonio.JsonError:
        return False
