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

_TELLS = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[^n\s])')
_DONE = b"[DONE]"
_CONTENT = (
    "content", "reasoning_content", "reasoning", "reasoning_text", "refusal", "tool_calls",
    "function_call", "audio", "reasoning_details",
)  # fmt: skip
_MOST_HELD = 1 << 20
"""Bytes held before the first content; lifecycle frames are a few hundred, so more is content."""


def watch(body: Body) -> Watch:
    """The state of one stream that answers `body`."""
    return _Stream(hide_usage=not request.asks_usage(body), several=body.prompt.choices > 1)


class _Stream:
    """What one stream has said so far; see Watch."""

    __slots__ = (
        "_done", "_finished", "_held", "_hide", "_rest", "_seen", "_several", "committed",
        "finish", "problem", "served", "usage",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool, several: bool) -> None:
        self.committed = False
        self.usage: Usage | None = None
        self.served: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None
        self._hide = hide_usage
        self._several = several
        self._rest = b""
        self._held = b""
        self._done = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether it ended: `[DONE]`, or a finish of every choice, as some hosts send no more."""
        return self._done or (bool(self._finished) and self._seen <= self._finished)

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what may go on now."""
        data = self._rest + data if self._rest else data
        end = sse.cut(data)
        if end != len(data):
            self._rest = data[end:]
            data = data[:end]
        else:
            self._rest = b""
        return self._pass(data) if data else b""

    def end(self) -> bytes:
        """Take the end of the stream: a last frame without its blank line is still a frame."""
        rest, self._rest = self._rest, b""
        return self._pass(rest) if rest else b""

    def _pass(self, data: bytes) -> bytes:
        plain = self.committed and not self._several
        if not (plain and _DONE not in data and _TELLS.search(data) is None):
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
        kept = []
        for frame in sse.frames(data):
            payload = sse.data(frame)
            if payload == _DONE:
                self._done = self.committed = True
            elif payload and self._glance(payload):
                continue
            if self.problem is not None and not self.committed:
                return b""
            kept.append(frame)
        return b"".join(kept)

    def _glance(self, payload: bytes) -> bool:
        """Read one chunk; tell whether it is a usage chunk that the client did not ask for."""
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            self.problem = Problem(
                kind="upstream_error", message="The provider sent a broken frame.", spent="maybe"
            )
            return True
        if not isinstance(chunk, dict):
            return False
        choices = chunk.get("choices")
        if chunk.get("error") and not choices:
            self.problem = problems.found(chunk["error"], payload)
            return False
        if self.served is None and isinstance(chunk.get("model"), str):
            self.served = chunk["model"] or None
        told = usage.find(chunk)
        if told is not None:
            self.usage = told
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
