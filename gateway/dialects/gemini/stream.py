"""Gemini streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --end of the stream after a finishReason--> complete

There is no frame that ends a stream: it is whole when it ends after every candidate has, or after
the prompt was refused. A finishReason that more content follows was none. Usage is cumulative, the
last one stands.
"""

import re

from gateway.core import jsonio
from gateway.dialects.base import Body, Watch
from gateway.dialects.gemini import answer, problems, usage, wire
from gateway.dialects.gemini.wire import Object
from gateway.dialects.held import Held, broken

_TELLS = re.compile(rb'"(?:usageMetadata|finishReason|promptFeedback|error)"')


def watch(body: Body) -> Watch:
    """The state of one stream that answers `body`."""
    return _Stream(choices=body.prompt.choices)


class _Stream(Held):
    """What one stream has said so far; see Watch."""

    __slots__ = ("_blocked", "_choices", "_finished", "_seen")

    def __init__(self, *, choices: int) -> None:
        super().__init__()
        self._choices = choices
        self._blocked = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether what has come so far may be all of it, and no error came."""
        if self.problem is not None:
            return False
        return self._blocked or len(self._finished) >= max(self._choices, len(self._seen), 1)

    def end(self) -> bytes:
        """Take the end of the stream; half a frame shows that it was cut."""
        rest = bool(self._rest.strip())
        out = super().end()
        if rest and not out:
            self._blocked = False
            self._finished.clear()
        return out

    def _plain(self, data: bytes) -> bool:
        quiet = self.committed and not self._finished and self._choices == 1
        return quiet and _TELLS.search(data) is None

    def _glance(self, frame: bytes, payload: bytes) -> bool:  # noqa: ARG002 - others look at both
        """Read one chunk; tell whether it stays here: what is none, an error that no SDK sees."""
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        first = chunk[0] if isinstance(chunk, list) and chunk else chunk
        if isinstance(first, dict) and first.get("error"):
            self.problem = problems.found(first["error"], payload)
            return first is not chunk or next(iter(chunk)) != "error"  # how an SDK knows it
        if not isinstance(chunk, dict):
            self.problem = broken()
            return True
        if self.served is None:
            self.served = wire.text(chunk.get("modelVersion")) or None
        for candidate in wire.rows(chunk.get("candidates")):
            self._candidate(candidate)
        reason = answer.blocked(chunk)
        if reason is not None:
            self._blocked = self.committed = True
            self.finish = reason
        told = usage.read(chunk.get("usageMetadata"), ended=self.complete)
        self.usage = told or self.usage
        return False

    def _candidate(self, candidate: Object) -> None:
        at = wire.whole(candidate.get("index")) or 0
        self._seen.add(at)
        reason = answer.finish(candidate.get("finishReason"))
        content = any(map(_content, wire.rows(wire.group(candidate, "content").get("parts"))))
        if reason is not None:
            self._finished.add(at)
            self.finish = reason
        elif content:
            self._finished.discard(at)
        self.committed = self.committed or content or reason is not None


def _content(part: Object) -> bool:
    """Whether a part says anything: an empty text, even of a thought, does not."""
    return any(item for name, item in part.items() if name != "thought")
