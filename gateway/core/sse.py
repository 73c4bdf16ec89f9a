"""Server-sent events as bytes: where a stream may be cut, and what a frame says.

Lines end in LF or CRLF and nothing else: U+2028 and U+0085, which text libraries also split on, may
stand inside JSON strings. Source: WHATWG HTML, 9.2.6; a lone CR is not accepted as a line end.
"""

import re

_END = re.compile(rb"\n\r?\n")


def cut(data: bytes) -> int:
    """The length of the longest prefix that consists of whole frames; 0 where there is none.

    A blank line too many belongs to what follows it, so that it does not matter where a read ended.
    """
    plain = data.rfind(b"\n\n")
    carriage = data.rfind(b"\n\r\n")
    last = max(plain, carriage)
    if last < 0:
        return 0
    before = last - 2 if data[last - 1 : last] == b"\r" else last - 1
    if data[before : before + 1] == b"\n" and before >= 0:
        return max((match.end() for match in _END.finditer(data)), default=0)
    return last + (2 if plain == last else 3)


def frames(data: bytes) -> list[bytes]:
    """Split whole frames, each with the blank line that ends it; a rest is one more."""
    out = []
    start = 0
    for match in _END.finditer(data):
        out.append(data[start : match.end()])
        start = match.end()
    if start < len(data):
        out.append(data[start:])
    return out


def events(data: bytes) -> list[bytes]:
    """Split whole frames, as `frames` does; gives none of blank lines and comments alone."""
    return frames(data) if b"data:" in data else []


class FrameSplitter:
    """Gives whole frames out of what is read, and keeps the beginning of the next one.

    A long frame comes in many reads: they are joined once, when its end is there.
    """

    __slots__ = ("_parts", "_seam", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._seam = b""
        """The last bytes that were kept: an end may have begun in them."""
        self.size = 0
        """Bytes that are kept."""

    def feed(self, data: bytes) -> bytes:
        """Take what was read; the frames that are whole now."""
        if self.size:
            near = self._seam + data
            self._parts.append(data)
            if b"\n\n" not in near and b"\n\r\n" not in near:
                self.size += len(data)
                self._seam = near[-2:]
                return b""
            data = self.rest()
        end = cut(data)
        if end == len(data):
            return data
        kept = data[end:]
        self._parts.append(kept)
        self._seam, self.size = kept[-2:], len(kept)
        return data[:end]

    @property
    def kept(self) -> bytes:
        """What has no end yet."""
        return b"".join(self._parts)

    def rest(self) -> bytes:
        """The same, which is then kept no more."""
        kept = self.kept
        self._parts.clear()
        self.size = 0
        return kept


def data(frame: bytes) -> bytes:
    """The payload of a frame: its data lines, joined by LF; empty for comments and lone events."""
    lines = []
    for line in frame.split(b"\n"):
        if line.startswith(b"data:"):
            value = line[5:].removesuffix(b"\r")
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)


def frame(payload: bytes) -> bytes:
    """Write one frame without an event name."""
    return b"data: " + payload + b"\n\n"
