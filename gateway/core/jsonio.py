"""The one door to JSON: strict reading, compact writing, and raw top-level members.

orjson reads (it refuses NaN, overflowing numbers, bad UTF-8 and lone surrogates, which `json` lets
pass);
msgspec cuts a body into its top-level members without copying or re-encoding what is inside.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

type Json = Any
"""Decoded JSON: dict, list, str, int, float, bool or None."""

type Members = dict[str, msgspec.Raw]
"""The top-level members of an object as raw slices of the bytes they were read from."""

dumps: Callable[[object], bytes] = msgspec.json.Encoder(decimal_format="string").encode
"""Write compact JSON (structs, dates and Decimals as msgspec does: Decimal as a string)."""
dumps_canonical: Callable[[object], bytes] = msgspec.json.Encoder(order="sorted").encode
"""Write compact JSON, the members of objects sorted by name; raw slices stay as they are."""

_MEMBERS_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MEMBER_START = re.compile(
    rb'[ \t\r\n]*[{,][ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
"""The beginning of a member, up to its value."""
_OBJECT_END = re.compile(rb"[ \t\r\n]*\}")
_MIN_SPARE_BYTES = 5
"""Bytes of an object beside its members, each with its quotes, colon and comma, that are too few
for one more: its two braces less a comma are 1, and the shortest member, `"":0,`, takes 5."""
_UNSAFE_CHARS = re.compile(
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


def make_reader(kind: Any) -> Callable[[bytes], Any]:
    """A function that reads one value of a type, straight into it. It raises JsonError."""
    decode = msgspec.json.Decoder(kind).decode

    def read(data: bytes) -> Any:
        try:
            return decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise JsonError(str(error)) from None

    return read


def dumps_printable(value: object) -> str:
    """The same for a terminal: what would steer it or hide text is escaped."""
    return _UNSAFE_CHARS.sub(_escape, dumps(value).decode())


def read_members(data: bytes) -> Members:
    """Cut an object into raw members; of a repeated name the last stays. Raises JsonError."""
    try:
        return _MEMBERS_DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JsonError(str(error)) from None


def join_members(raw_members: Members) -> bytes:
    """Write members as one object, each value byte for byte as it was read."""
    chunks: list[bytes | memoryview] = []
    for name, raw in raw_members.items():
        chunks += (b",", dumps(name), b":", memoryview(raw))
    chunks[:1] = [b"{"]
    chunks.append(b"}")
    return b"".join(chunks)  # which is the one time that a large value is copied


def has_repeated_member(data: bytes, raw_members: Members) -> bool:
    """Tell whether an object names a top-level member more than once.

    `raw_members` is `read_members(data)`. Where the object is as short as these can be written
    there is no room for another. Else it walks names and skips values by comparing them with the
    slice that was kept: a value that differs, or a name seen before, is a repeat.
    """
    spare_bytes = len(data) - sum(
        map(len, raw_members.values()), sum(map(len, raw_members), 4 * len(raw_members))
    )
    if spare_bytes <= _MIN_SPARE_BYTES or not raw_members:
        return False
    offset = count = 0
    while (match := _MEMBER_START.match(data, offset)) is not None:
        raw = bytes(memoryview(raw_members[loads(match[1])]))
        offset = match.end()
        if not data.startswith(raw, offset):
            return True
        count += 1
        offset += len(raw)  # a longer number that begins with the one that was kept ends the walk
    return count != len(raw_members) or _OBJECT_END.match(data, offset) is None


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
