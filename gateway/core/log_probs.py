"""Read answers without what makes them too large to be read: log probabilities, data of images.

With 20 `top_logprobs` a token has 230 values and names, so an answer of 1,700 tokens has more than
the gateway parses. Accounting, the check of answers and stored conversations need none of them. So
the gateway reads such an answer without them. A client of the same dialect still gets each byte.

Answers with pictures may be so long that to read them would hold the event loop. Where only facts
such as usage count, the gateway reads them without the data.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

from gateway.core import json_size, jsonio
from gateway.core.jsonio import Json, JsonError

_OPENAI_MEMBER, _GEMINI_MEMBER = b"logprobs", b"logprobsResult"
MEMBERS = {
    "openai-chat": (_OPENAI_MEMBER,),
    "openai-responses": (_OPENAI_MEMBER,),
    "gemini": (_GEMINI_MEMBER,),
}
"""The members that have log probabilities, by dialect.

Elsewhere a member of that name is something else, such as an argument of a tool.
"""
ALL_MEMBERS = (_OPENAI_MEMBER, _GEMINI_MEMBER)
"""For code that only looks for facts such as usage, whatever the dialect."""
_SLICE_BYTES = 65_536
_VALUE_START = re.compile(rb'"[ \t\r\n]*:[ \t\r\n]*(?=[\[{])')
_BRACKETS = re.compile(rb"[\[\]{}]")
_OTHER_BYTES = bytes(it for it in range(256) if it not in b"[]{}")
_LONG_BYTES = 32_000_000
"""Bytes above which to read JSON takes too long, even if it is one string."""
_BASE64_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
"""By how much a bracket changes the depth."""


def make_readable(data: bytes, members: Iterable[bytes]) -> bytes | None:
    """Return an answer or frames as they are; without log probabilities if they are too many.

    `members` have them. None if there are too many values all the same.
    """
    if not json_size.exceeds(data, json_size.MAX_VALUES):
        return data
    shortened_data = data
    for member in members:
        shortened_data = _empty_members(shortened_data, member)
    if shortened_data is data or json_size.exceeds(shortened_data, json_size.MAX_VALUES):
        return None
    return shortened_data


def loads_answer(data: bytes) -> Json:
    """Read the facts of one JSON value of any dialect, without log probabilities if too many.

    If it is very long, its data is cut. Raises JsonError as `jsonio.loads_bounded` does.
    """
    if len(data) > _LONG_BYTES:
        data = _cut_data(data)
    readable_data = make_readable(data, ALL_MEMBERS)
    if readable_data is None:
        raise JsonError("too many values beside log probabilities, or too much text")
    return jsonio.loads(readable_data)


def _cut_data(data: bytes) -> bytes:
    """Return JSON without the slices that have nothing but base64."""
    return b"".join(part for part in json_size.cut(data) if part.translate(None, _BASE64_BYTES))


def _empty_members(data: bytes, member: bytes) -> bytes:
    """Return JSON with null in place of each list and object that a member of this name has."""
    name = b'"' + member
    kept: list[bytes] = []
    end = offset = 0
    while (offset := data.find(name, offset)) >= 0:
        start = _VALUE_START.match(data, offset + len(name))
        # A quote after a backslash is a character of a text.
        if start is None or data[offset - 1 : offset] == b"\\":
            offset += len(name)
            continue
        kept += (data[end : start.end()], b"null")
        end = offset = _find_value_end(data, start.end())
    return b"".join([*kept, data[end:]]) if kept else data


def _find_value_end(data: bytes, offset: int) -> int:
    """Return where the list or object ends that begins at `offset`; the end of data if nowhere.

    The search goes slice by slice, since one call of a C function keeps the interpreter's lock.
    """
    depth = in_text = 0
    while offset < len(data):
        part = data[offset : offset + _SLICE_BYTES]
        if (len(part) - len(part.rstrip(b"\\"))) % 2:  # no slice ends within an escape
            part = data[offset : offset + _SLICE_BYTES + 1]
        texts = part.replace(b"\\\\", b"__").replace(b'\\"', b"__").split(b'"')
        brackets = b"".join(texts[in_text::2]).translate(None, _OTHER_BYTES)
        depths = [*accumulate(map(_STEPS.__getitem__, brackets), initial=depth)]
        if 0 in depths[1:]:
            ends = [*_list_bracket_ends(texts, in_text)]
            return offset + ends[depths.index(0, 1) - 1]
        depth, in_text = depths[-1], (in_text + len(texts) - 1) % 2
        offset += len(part)
    return len(data)


def _list_bracket_ends(texts: list[bytes], in_text: int) -> Iterator[int]:
    """Yield where each bracket ends, in a slice that was split at its quotes."""
    offset = 0
    for index, text in enumerate(texts):
        if index % 2 == in_text:
            yield from (offset + match.end() for match in _BRACKETS.finditer(text))
        offset += len(text) + 1
