"""Server-sent events as bytes: where a stream may be cut, and what a frame says.

Lines end in LF or CRLF and nothing else: U+2028 and U+0085, which text libraries also split on, may
stand inside JSON strings. Source: WHATWG HTML, 9.2.6; a lone CR is not accepted as a line end.
"""

import re

_FRAME_END = re.compile(rb"\n\r?\n")


def find_frames_end(data: bytes) -> int:
    """The length of the longest prefix that consists of whole frames; 0 where there is none.

    A blank line too many belongs to what follows it, so that it does not matter where a read ended.
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
    """Split whole frames, each with the blank line that ends it; a rest is one more."""
    result = []
    start = 0
    for match in _FRAME_END.finditer(data):
        result.append(data[start : match.end()])
        start = match.end()
    if start < len(data):
        result.append(data[start:])
    return result


def split_data_frames(data: bytes) -> list[bytes]:
    """Split whole frames, as `split_frames` does; gives none of blank lines and comments alone."""
    return split_frames(data) if b"data:" in data else []


class FrameSplitter:
    """Gives whole frames out of what is read, and keeps the beginning of the next one.

    A long frame comes in many reads: they are joined once, when its end is there.
    """

    __slots__ = ("_parts", "_tail", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._tail = b""
        """The last bytes that were kept: an end may have begun in them."""
        self.size = 0
        """Bytes that are kept."""

    def feed(self, data: bytes) -> bytes:
        """Take what was read; the frames that are whole now."""
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
        """What has no end yet."""
        return b"".join(self._parts)

    def take_pending(self) -> bytes:
        """The same, which is then kept no more."""
        pending = self.pending
        self._parts.clear()
        self.size = 0
        return pending


def read_data(frame: bytes) -> bytes:
    """The payload of a frame: its data lines, joined by LF; empty for comments and lone events."""
    lines = []
    for line in frame.split(b"\n"):
        if line.startswith(b"data:"):
            value = line[5:].removesuffix(b"\r")
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)


def write_frame(payload: bytes) -> bytes:
    """Write one frame without an event name."""
    return b"data: " + payload + b"\n\n"
