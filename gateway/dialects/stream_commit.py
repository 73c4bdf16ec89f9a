"""What all streams at home have in common: whole frames, held until there is content."""

import re
from abc import ABC, abstractmethod

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
from gateway.core.usage import Usage
from gateway.dialects.frame_template import FrameTemplate, learn

DONE = b"[DONE]"
"""The end of Chat Completions streams, which some hosts send in other dialects too."""
STOP = "stop"
"""The reason for an end without one, at a provider that may leave it out."""
_STRANGE = 4
"""Frames in a row that have another form than the one before, after which none is kept."""
MOST_FRAME = 32_000_000
"""Bytes of one frame: images in answers take some millions."""


class StreamBuffer(ABC):
    """The state of one stream; see Watch. A dialect says what a frame means in `_read`."""

    __slots__ = (
        "_form", "_held", "_strange", "_whole", "committed", "finish", "heard", "problem",
        "response_id", "served", "usage",
    )  # fmt: skip

    _HOLE: re.Pattern[bytes] | None = None
    """What stands before the text of frames, in a dialect where they differ in nothing else."""

    def __init__(self) -> None:
        self.committed = False
        self.heard = 0
        self.usage: Usage | None = None
        self.served: str | None = None
        self.response_id: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None
        self._whole = sse.FrameSplitter()
        self._held: list[bytes] = []
        """Bytes before the first content. The attempt that feeds the stream bounds them."""
        self._form: FrameTemplate | None = None
        """Of a frame before."""
        self._strange = 0
        """Frames since one of that form."""

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what may go on now. Nothing does after an error."""
        if self.problem is not None:
            return b""
        if (form := self._form) is not None and not self._whole.size:
            size = form.says(data)
            if size >= 0:
                self.heard += size
                self._strange = 0
                return data
        data = self._whole.feed(data)
        if data:
            return self._pass(data)
        if self._whole.size > MOST_FRAME:
            self._whole.rest()
            self.problem = broken("a frame without an end")
        return b""

    def end(self) -> bytes:
        """Take the end of the stream: a frame may lack its blank line; half a frame is none."""
        rest = self._whole.rest()
        if self.problem is not None or not _whole(rest):
            return b""
        return self._pass(rest)

    @abstractmethod
    def _plain(self, data: bytes) -> bool:
        """Whether frames say nothing that must be known: what was committed, and more of it."""

    @abstractmethod
    def _glance(self, frame: bytes, payload: bytes) -> bool:
        """Read one frame; tell whether it stays here."""

    @abstractmethod
    def _amount(self, payload: bytes) -> int:
        """Bytes of content that a frame adds. Raises JsonError where it is none of this dialect."""

    def _hear(self, data: bytes) -> bool:
        """Count the content of frames; mostly it is one, whose payload is the rest of a line.

        Tells whether each was read that should be JSON.
        """
        at = data.find(b"data:")
        if at < 0:
            return True
        try:
            self.heard += self._amount(data[at + 5 :])
        except jsonio.JsonError:
            read = [self._heard(sse.data(frame)) for frame in sse.frames(data)]
            return all(read)
        return True

    def _heard(self, payload: bytes) -> bool:
        try:
            self.heard += self._amount(payload)
        except jsonio.JsonError:  # the end of a stream, of another dialect, or what no client reads
            return not payload or payload.startswith(DONE) or _json(payload)
        return True

    def _pass(self, data: bytes) -> bytes:
        read = self._hear(data)
        if not (read and self._plain(data)):
            data = self._read(data, plain=read)
        elif self._HOLE is not None and self._strange < _STRANGE and not self._held:
            self._strange += 1
            self._form = learn(data, self._HOLE, self._amount, self._plain) or self._form
        if not self.committed:
            self._held.append(data)
            return b""
        if self._held:
            data = b"".join([*self._held, data])
            self._held.clear()
        return data

    def _read(self, data: bytes, *, plain: bool) -> bytes:
        """Look at each frame; `plain`: only at those that must be known."""
        if b"data:" not in data:
            return data  # blank lines and comments
        kept: list[bytes] = []
        for frame in sse.frames(data):
            payload = b"" if plain and self._plain(frame) else sse.data(frame)
            if payload and self._glance(frame, payload):
                # It stays here; blank lines before it are of no frame, wherever a read ended.
                frame = frame[: -len(frame.lstrip(b"\r\n"))]  # noqa: PLW2901
            if self.problem is not None:
                return b"".join([*kept, frame]) if self.committed else b""
            kept.append(frame)
        return b"".join(kept)


def empty() -> Problem:
    """Describe an answer that has no content, and no reason why it ended."""
    message = "The provider sent an answer without content, which it did not end."
    return Problem(kind="upstream_truncated", message=message, spent="maybe")


def broken(what: str = "a broken frame") -> Problem:
    """What an answer is, or a frame of one, that cannot be read."""
    return Problem(kind="upstream_error", message=f"The provider sent {what}.", spent="maybe")


def _json(payload: bytes) -> bool:
    try:
        jsonio.loads(payload)
    except jsonio.JsonError:
        return False
    return True


def _whole(rest: bytes) -> bool:
    """Whether what stands at the end of a stream is a frame, or blank lines."""
    payload = sse.data(rest)
    if not payload:
        return not rest.strip(b"\r\n")
    try:
        return payload.startswith(DONE) or isinstance(jsonio.loads(payload), dict)
    except jsonio.JsonError:
        return False
