"""The only module for JSON: strict reading, compact writing, and raw top-level members.

orjson reads JSON. It refuses NaN, numbers that overflow, bad UTF-8 and lone surrogates, which
`json` accepts. msgspec cuts a body into its top-level members. It neither copies nor re-encodes
their values.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from gateway.core import json_size

type Json = Any
"""Decoded JSON: dict, list, str, int, float, bool or None."""

type Members = dict[str, msgspec.Raw]
"""The top-level members of an object, as raw slices of its bytes."""

dumps: Callable[[object], bytes] = msgspec.json.Encoder(decimal_format="string").encode
"""Write compact JSON. Structs and dates are as msgspec writes them, a Decimal is a string."""
dumps_canonical: Callable[[object], bytes] = msgspec.json.Encoder(order="sorted").encode
"""Write compact JSON with the members of objects sorted by name; raw slices stay unchanged."""

_MEMBERS_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MEMBER_START = re.compile(
    rb'[ \t\r\n]*[{,][ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
"""The beginning of a member, up to its value."""
_OBJECT_END = re.compile(rb"[ \t\r\n]*\}")
_MIN_SPARE_BYTES = 5
"""Spare bytes of an object up to which it has no room for one more member.

Spare are the bytes beside the known members, each counted with its quotes, colon and comma. The two
braces minus one comma make 1. The shortest member, `"":0,`, takes 5.
"""
_UNSAFE_CHARS = re.compile(
    "[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
"""Characters that JSON does not escape, but that steer a terminal, break a line or hide text.

YAML does not allow the last two (YAML 1.2.2, 5.1).
"""


class JsonError(ValueError):
    """Raised for bytes that are not one strict JSON value. The message quotes none of them."""


def loads(data: bytes | memoryview) -> Json:
    """Read one JSON value. Raises JsonError for anything that RFC 8259 does not allow."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at byte {error.pos}") from None


def loads_bounded(data: bytes, max_values: int = json_size.MAX_VALUES) -> Json:
    """Read one JSON value that no limit of the server bounds: an answer, or JSON in a text.

    Raises JsonError as `loads` does, and for more than `max_values` values or too much complex text
    (`json_size`), before it parses any.
    """
    if json_size.exceeds(data, max_values):
        raise JsonError(f"more than {max_values:,} values, or too much text")
    return loads(data)


def loads_text(text: str) -> Json:
    """Read JSON in a text of a message, such as the arguments of a tool. Raises JsonError."""
    return loads_bounded(text.encode("utf-8", "replace"), json_size.MAX_PART_VALUES)


def make_reader(kind: Any) -> Callable[[bytes], Any]:
    """Return a function that decodes JSON straight into a type. The function raises JsonError."""
    decode = msgspec.json.Decoder(kind).decode

    def read(data: bytes) -> Any:
        try:
            return decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise JsonError(str(error)) from None

    return read


def dumps_printable(value: object) -> str:
    """Write compact JSON for a terminal; escape characters that steer it or hide text."""
    return _UNSAFE_CHARS.sub(_escape, dumps(value).decode())


def read_members(data: bytes) -> Members:
    """Cut an object into raw members; the last of a repeated name wins. Raises JsonError."""
    try:
        return _MEMBERS_DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise JsonError(str(error)) from None


def join_members(raw_members: Members) -> bytes:
    """Write members as one object; each value keeps its bytes."""
    return dumps(raw_members)


def has_repeated_member(data: bytes, raw_members: Members) -> bool:
    """Return True if an object names a top-level member more than once.

    `raw_members` is `read_members(data)`. If the object is as short as these members can be, it has
    no room for another. Otherwise the function walks the names, and compares each value with the
    slice in `raw_members`. A value that differs, or more names than members, means a repeat.
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
        offset += len(raw)  # the walk ends at a longer number that begins with the kept one
    return count != len(raw_members) or _OBJECT_END.match(data, offset) is None


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
