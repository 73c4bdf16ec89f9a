"""The one door to JSON: strict reading, compact writing, and raw top-level members.

orjson reads (it refuses NaN, overflowing numbers, bad UTF-8 and lone surrogates, which `json` lets
pass);
msgspec cuts a body into its top-level members without copying or re-encoding what is inside.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

type Json = Any
"""Decoded JSON: dict, list, str, int, float, bool or None."""

type Members = dict[str, msgspec.Raw]
"""The top-level members of an object as raw slices of the bytes they were read from."""

canonical: Callable[[object], bytes] = msgspec.json.Encoder(order="sorted").encode
"""Write compact JSON, the members of objects sorted by name; raw slices stay as they are."""

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MEMBER = re.compile(
    rb'[ \t\r\n]*[{,][ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
"""The beginning of a member, up to its value."""
_END = re.compile(rb"[ \t\r\n]*\}")
_ROOM = 5
"""Bytes of an object beside its members, each with its quotes, colon and comma, that are too few
for one more: its two braces less a comma are 1, and the shortest member, `"":0,`, takes 5."""
_UNSEEN = re.compile(
    "[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""What JSON leaves as it is, and what would still steer a terminal, break a line or hide text."""


class JsonError(ValueError):
    """Bytes that are not one strict JSON value; the text says where, never what stood there."""


def loads(data: bytes | memoryview) -> Json:
    """Read one JSON value. Raises JsonError for anything that RFC 8259 does not allow."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at byte {error.pos}") from None


def reader(kind: Any) -> Callable[[bytes], Any]:
    """A function that reads one value of a type, straight into it. It raises JsonError."""
    decode = msgspec.json.Decoder(kind).decode

    def read(data: bytes) -> Any:
        try:
            return decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise JsonError(str(error)) from None

    return read


def dumps(value: object) -> bytes:
    """Write compact JSON (structs, dates and Decimals as msgspec does: Decimal as a string)."""
    return _ENCODE(value)


def lines(values: Sequence[object]) -> bytes:
    """The same of many, a line each, which takes a third less than each of them for itself."""
    return _ENCODE_LINES(values)


def shown(value: object) -> str:
    """The same for a terminal: what would steer it or hide text is escaped."""
    return _UNSEEN.sub(_escaped, dumps(value).decode())


def members(data: bytes) -> Members:
    """Cut an object into raw members; of a repeated name the last stays. Raises JsonError."""
    try:
        return _MEMBERS.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError(str(error)) from None


def join(parts: Members) -> bytes:
    """Write members as one object, each value byte for byte as it was read."""
    pieces: list[bytes | memoryview] = []
    for name, raw in parts.items():
        pieces += (b",", _ENCODE(name), b":", memoryview(raw))
    pieces[:1] = [b"{"]
    pieces.append(b"}")
    return b"".join(pieces)  # which is the one time that a large value is copied


def repeats(data: bytes, parts: Members) -> bool:
    """Tell whether an object names a top-level member more than once.

    `parts` is `members(data)`. Where the object is as short as these can be written there is no
    room for another. Else it walks names and skips values by comparing them with the slice that
    was kept: a value that differs, or a name seen before, is a repeat.
    """
    beside = len(data) - sum(map(len, parts.values()), sum(map(len, parts), 4 * len(parts)))
    if beside <= _ROOM or not parts:
        return False
    at = seen = 0
    while (found := _MEMBER.match(data, at)) is not None:
        raw = bytes(memoryview(parts[loads(found[1])]))
        at = found.end()
        if not data.startswith(raw, at):
            return True
        seen += 1
        at += len(raw)  # a longer number that begins with the one that was kept ends the walk
    return seen != len(parts) or _END.match(data, at) is None


def _escaped(sign: re.Match[str]) -> str:
    return f"\\u{ord(sign[0]):04x}"


_ENCODER = msgspec.json.Encoder(decimal_format="string")
_ENCODE, _ENCODE_LINES = _ENCODER.encode, _ENCODER.encode_lines
