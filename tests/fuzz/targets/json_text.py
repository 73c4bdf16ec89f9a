"""JSON: the gateway's readers compared with Python's own, and counts of values."""

import json
from typing import Any

from gateway.core import json_size, jsonio
from gateway.core.json_size import ValueCount
from gateway.core.jsonio import JsonError
from tests.fuzz.target import FuzzTarget, cut

_MAX_DEPTH = 900
"""Nesting from which readers may refuse a value: each has a limit of its own."""


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _read_strictly(data: bytes) -> tuple[Any, bool] | None:
    """Return a value as Python reads it, and True if its outer object has a name twice.

    None if it is not the JSON of RFC 8259.
    """
    has_repeat = False

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_repeat  # the last object is the outer one
        has_repeat = len(dict(pairs)) < len(pairs)
        json.dumps(pairs, allow_nan=False, ensure_ascii=False).encode()  # as below; one may be lost
        return dict(pairs)

    try:
        value = json.loads(
            data.decode(), parse_constant=_refuse_constant, parse_int=float, object_pairs_hook=build
        )
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()  # no surrogate, no overflow
    except (ValueError, RecursionError):
        return None
    return value, has_repeat


def _as_floats(value: Any) -> Any:
    """Return a value with all numbers as floats: orjson reads some large integers so, too."""
    if isinstance(value, dict):
        return {name: _as_floats(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _count(value: Any) -> int:
    """Return the number of values and names; an empty object or list counts twice."""
    if isinstance(value, dict):
        return 1 + (sum(1 + _count(item) for item in value.values()) or 1)
    if isinstance(value, list):
        return 1 + (sum(map(_count, value)) or 1)
    return 1


def _count_pieces(pieces: list[bytes]) -> int:
    counter = ValueCount(10_000)
    counter.add(b" " * 10_000)  # it counts from there on
    for piece in pieces:
        counter.add(piece)
    return counter.count


def check_json(data: bytes) -> None:
    """The gateway accepts what RFC 8259 allows, with the same value, and cuts it into members."""
    expected = _read_strictly(data)
    is_deep = data.count(b"[") + data.count(b"{") > _MAX_DEPTH
    try:
        value = jsonio.loads(data)
    except JsonError:
        assert expected is None or is_deep
        return
    assert is_deep or expected is not None
    if expected is None:
        return
    assert _as_floats(value) == expected[0]
    assert jsonio.loads(jsonio.dumps(value)) == value or "\\ud8" in repr(value)
    counts = {_count_pieces(pieces) for pieces in cut(data)}
    assert len(counts) == 1
    if isinstance(value, dict) and expected[1]:
        assert counts.pop() >= _count(value)
    assert json_size.bound_values(data) >= _count(value)
    _check_members(data, value, has_repeat=expected[1])


def _check_members(data: bytes, value: Any, *, has_repeat: bool) -> None:
    """Compare the members of an object with its value."""
    try:
        members = jsonio.read_members(data)
    except JsonError:
        assert not isinstance(value, dict)
        return
    assert isinstance(value, dict)
    assert list(members) == list(value)
    assert {name: jsonio.loads(memoryview(raw)) for name, raw in members.items()} == value
    assert jsonio.has_repeated_member(data, members) == has_repeat
    assert jsonio.loads(jsonio.join_members(members)) == value


def check_members(data: bytes) -> None:
    """An object whose members can all be read alone can be read whole, with the same value.

    A request with tools that came before is read so (`gateway/dialects/parse.py`).
    """
    try:
        members = jsonio.read_members(data)
        value = {name: jsonio.loads(memoryview(raw)) for name, raw in members.items()}
        if jsonio.has_repeated_member(data, members):
            return
    except JsonError:
        return
    assert jsonio.loads(data) == value


_SEEDS = (
    b'{"a":1,"b":[1.5,-0,1e3,true,null,"\\u00e9\\ud83d\\ude00"],"c":{"d":{}}}',
    b' [ 1 , {"a" : "\\\\\\"" , "a" : 2} ] ',
    b'{"a":1,"a":2}',
    b'{"\\u0061":"x","a":"y\\n"}',
    b"[12345678901234567890123,0.1000000000000000055511,1E-400]",
)
_WORDS = (
    b'{"', b'":', b",", b"[", b"]", b"}", b'"', b"\\u", b"\\ud800", b"\\udc00", b"\\\\", b'\\"', b"null", b"true", b"NaN", b"Infinity",
    b"-", b"1e", b"1e308", b".", b"0", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b" ", b"\t", b"\x0b", b"//",
    b"18446744073709551616", b'"a":',
)  # fmt: skip

TARGETS = (
    FuzzTarget("json", check_json, _SEEDS, _WORDS),
    FuzzTarget("json-members", check_members, _SEEDS, _WORDS),
)
