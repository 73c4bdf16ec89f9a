"""The base of all native stream inspectors: it buffers whole frames until there is content."""

from abc import ABC, abstractmethod

from gateway.core import json_size, jsonio, log_probs, sse
from gateway.core.errors import Problem
from gateway.core.usage import Usage
from gateway.dialects.stream_frames import (
    MAX_FRAME_BYTES,
    Frame,
    FrameReader,
    is_complete_frame,
    make_broken_problem,
)


class StreamBuffer(ABC):
    """The state of one stream; see StreamInspector.

    A dialect counts the content of a frame in `_count`. If the frame says more, `read_frame` reads
    all of it, and the dialect takes its facts in `_inspect`.
    """

    __slots__ = (
        "_pending_frames",
        "_read_frame",
        "_splitter",
        "committed",
        "content_bytes",
        "finish",
        "problem",
        "response_id",
        "served_model",
        "usage",
    )  # fmt: skip

    def __init__(self, read_frame: FrameReader) -> None:
        self._read_frame = read_frame
        self.committed = False
        self.content_bytes = 0
        self.usage: Usage | None = None
        self.served_model: str | None = None
        self.response_id: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None
        self._splitter = sse.FrameSplitter()
        self._pending_frames: list[bytes] = []
        """Bytes before the first content. The attempt that feeds the stream bounds them."""

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what may go on now. Nothing does after an error."""
        if self.problem is not None:
            return b""
        data = self._splitter.feed(data)
        if json_size.exceeds(data, json_size.MAX_VALUES):
            return self._release(data, has_many_values=True)
        if data:
            return self._release(data)
        if self._splitter.size > MAX_FRAME_BYTES:
            self._splitter.take_pending()
            self.problem = make_broken_problem("a frame without an end")
        return b""

    def end(self) -> bytes:
        """Take the end of the stream: a frame may lack its blank line; half a frame is none."""
        remainder = self._splitter.take_pending()
        if self.problem is not None or not is_complete_frame(remainder):
            return b""
        return self._release(remainder)

    @abstractmethod
    def _count(self, payload: bytes) -> bool:
        """Count the content of a frame; tell whether it says more, so that it is inspected.

        Raises JsonError if the payload is not JSON, or none of this dialect.
        """

    @abstractmethod
    def _inspect(self, frame: Frame) -> bool:
        """Take the facts of a frame; return True if it stays here.

        At an error `problem` is set before; what is returned then does not count.
        """

    def _release(self, data: bytes, *, has_many_values: bool = False) -> bytes:
        offset = _find_payload(data)
        if has_many_values:
            data = self._inspect_frames(data, has_many_values=True)
        elif offset:  # else there are only blank lines and comments
            try:
                # Mostly there is one frame, whose payload is the rest of a line.
                says_more = self._count(data[offset:])
            except jsonio.JsonError:
                data = self._inspect_frames(data)
            else:
                if says_more or not self.committed:
                    data = self._inspect_frames(data, is_counted=True)
        if not self.committed:
            self._pending_frames.append(data)
            return b""
        if self._pending_frames:
            data = b"".join([*self._pending_frames, data])
            self._pending_frames.clear()
        return data

    def _inspect_frames(
        self, data: bytes, *, is_counted: bool = False, has_many_values: bool = False
    ) -> bytes:
        """Return the frames that may go on; `is_counted`: the content of all is counted.

        If they have many values, they are read without log probabilities, and pass with them.
        """
        frames: list[bytes] = []
        for frame in sse.split_frames(data):
            payload = sse.read_data(frame)
            if has_many_values:
                readable_payload = log_probs.make_readable(payload, log_probs.ALL_MEMBERS)
                if readable_payload is None:
                    self.problem = make_broken_problem(
                        "a frame with too many JSON values, or too much text"
                    )
                    return b"".join(frames) if self.committed else b""
                payload = readable_payload
            if (
                payload
                and (is_counted or self._must_inspect(payload))
                and self._take(self._read_frame(frame, payload))
            ):
                # It stays here; blank lines before it are of no frame, wherever a read ended.
                frame = frame[: -len(frame.lstrip(b"\r\n"))]  # noqa: PLW2901
            if self.problem is not None:
                return b"".join([*frames, frame]) if self.committed else b""
            frames.append(frame)
        return b"".join(frames)

    def _take(self, frame: Frame) -> bool:
        """Take the facts of a frame; return True if it stays here."""
        self.problem = frame.problem
        stays = self._inspect(frame)
        return stays if frame.problem is None else frame.is_hidden

    def _must_inspect(self, payload: bytes) -> bool:
        """Count the content of a frame; True if the frame says more, or cannot be read."""
        try:
            return self._count(payload) or not self.committed
        except jsonio.JsonError:
            return True


def _find_payload(data: bytes) -> int:
    """Return where the first payload begins; 0 if there is none."""
    if data.startswith(b"data:"):
        return 5
    line_end = data.find(b"\ndata:")  # a comment or the name of an event may have the word in it
    return line_end + 6 if line_end >= 0 else 0
