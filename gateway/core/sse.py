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
