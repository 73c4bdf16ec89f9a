"""Server-sent events as bytes: the places to cut a stream, and the payload of a frame.

Only LF or CRLF ends a line. Text libraries also split at U+2028 and U+0085, which may be inside
JSON strings. Source: WHATWG HTML, 9.2.6; but a lone CR does not end a line here.
"""

import re

_FRAME_END = re.compile(rb"\n\r?\n")


def find_frames_end(data: bytes) -> int:
    """Return the length of the longest prefix of whole frames; 0 if there is none.

    An extra blank line belongs to the next frame, so it does not matter where a read ends.
    """
    lf_index = data.rfind(b"\n\n")
    crlf_index = data.rfind(b"\n\r\n")
    last_index = max(lf_index, crlf_index)
    if last_index < 0:
        return 0
    previous_index = (
        last_index - 2 if data[last_index - 1 : last_index] == b"\r" else last_index - 1
    )
    if data[previous_index : previous_index + 1] == b"\n" and previous_index >= 0:
        return max((match.end() for match in _FRAME_END.finditer(data)), default=0)
    return last_index + (2 if lf_index == last_index else 3)


def split_frames(data: bytes) -> list[bytes]:
    """Split frames, each with the blank line that ends it; an incomplete rest is the last item."""
    result = []
    start = 0
    for match in _FRAME_END.finditer(data):
        result.append(data[start : match.end()])
        start = match.end()
    if start < len(data):
        result.append(data[start:])
    return result


def split_data_frames(data: bytes) -> list[bytes]:
    """Split frames as `split_frames` does; return none if no frame has data."""
    return split_frames(data) if b"data:" in data else []


class FrameSplitter:
    """Returns whole frames from the bytes of a stream, and keeps the beginning of the next one.

    A long frame comes in many reads. The splitter joins them once, when the end is there.
    """

    __slots__ = ("_parts", "_tail", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._tail = b""
        """The last kept bytes: the end of a frame may begin in them."""
        self.size = 0
        """The number of kept bytes."""

    def feed(self, data: bytes) -> bytes:
        """Take the bytes of a read, and return the frames that are whole now."""
        if self.size:
            window = self._tail + data
            self._parts.append(data)
            if b"\n\n" not in window and b"\n\r\n" not in window:
                self.size += len(data)
                self._tail = window[-2:]
                return b""
            data = self.take_pending()
        end = find_frames_end(data)
        if end == len(data):
            return data
        remainder = data[end:]
        self._parts.append(remainder)
        self._tail, self.size = remainder[-2:], len(remainder)
        return data[:end]

    @property
    def pending(self) -> bytes:
        """The kept bytes of a frame without an end."""
        return b"".join(self._parts)

    def take_pending(self) -> bytes:
        """Return the kept bytes, and keep them no longer."""
        pending = self.pending
        self._parts.clear()
        self.size = 0
        return pending


def read_data(frame: bytes) -> bytes:
    """Return the payload of a frame: its data lines, joined by LF; empty if it has none."""
    lines = []
    for line in frame.split(b"\n"):
        if line.startswith(b"data:"):
            start = 6 if line.startswith(b"data: ") else 5
            lines.append(line[start:].removesuffix(b"\r"))
    return b"\n".join(lines)


def write_frame(payload: bytes) -> bytes:
    """Write one frame without an event name."""
    return b"data: " + payload + b"\n\n"
