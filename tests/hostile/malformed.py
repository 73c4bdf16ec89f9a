"""Texts that are nearly JSON, the same every time; the standard library refuses each of them."""

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import suppress

type Change = Callable[[bytes, random.Random], bytes]

_INSERTED = (
    b",", b":", b"[", b"]", b"{", b"}", b'"', b"\\", b"'", b"/", b"#", b";", b"=", b"(", b"\0", b"\x0b", b"\x0c",
    b"\xa0", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80", b"\xef\xbb\xbf",
    b"//", b"/**/", b"<!---->", b"\x1b[2J", b"1", b"x", b"None", b"NaN", b"\\u12", b"\\x41", b"\\ud800", b"\\u{1}",
)  # fmt: skip
_VALUES = (
    b"01", b"1.", b".5", b"+1", b"1e", b"1e+", b"0x1F", b"0o7", b"0b1", b"1_000", b"NaN", b"-NaN", b"Infinity", b"-Infinity",
    b"1e400", b"-1e999", b"--1", b"- 1", b"1 2", b"\xd9\xa1", b"True", b"TRUE", b"tru", b"truee", b"None", b"nil",
    b"undefined", b"'a'", b"`a`", b'"a', b'a"', b'"\\', b'"\\a"', b'"\\u00g0"', b'"\\u"', b'"\\ud83d"', b'"\\ude00\\ud83d"',
    b'"\t"', b'"\n"', b'"\0"', b'"\x1f"', b'"\xff"', b'"\xe2\x28\xa1"', b'"\xf0\x9f\x98"', b'"\xed\xbf\xbf"', b"[", b"]",
    b"[1,]", b"[,1]", b"[1 2]", b"[1;2]", b"{", b"}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{,}", b"{a:1}", b"{1:1}", b"{'a':1}",
    b'{"a":1 "b":2}', b'{"a"=1}', b'{"a"::1}', b"new Date()", b"/x/", b"1n", b"$1", b"{{7*7}}", b"b'a'", b'u"a"', b"", b"-",
    b'"a" "b"', b'"a"+"b"', b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b"[" * 5000 + b"]" * 5000,
)  # fmt: skip
"""Replacements for the value of a member."""
_AROUND = (
    (b"", b","), (b"", b"}"), (b"", b"{}"), (b"", b"\0"), (b"", b"x"), (b"", b"//"), (b"[", b""), (b"(", b")"), (b"", b";"),
    (b"\xef\xbb\xbf", b""), (b"\0", b""), (b"'", b"'"), (b"callback(", b")"), (b"data: ", b""), (b")]}',\n", b""),
    (b"\x1f\x8b", b""), (b"\xfe\xff", b""), (b"", b"\xff"), (b"\xa0", b""), (b"", b"\n{}"), (b"--x\r\n\r\n", b"\r\n--x--"),
)  # fmt: skip
_CODECS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7", "cp037")


def _insert(text: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(_INSERTED) + text[at:]


def _delete(text: bytes, chance: random.Random) -> bytes:
    at = chance.choice([i for i, byte in enumerate(text) if byte in b'{}[]":,'])
    return text[:at] + text[at + 1 :]


def _double(text: bytes, chance: random.Random) -> bytes:
    at = chance.choice([i for i, byte in enumerate(text) if byte in b'{}[]":,'])
    return text[:at] + text[at : at + 1] + text[at:]


def _swap(text: bytes, chance: random.Random) -> bytes:
    at = chance.choice([i for i, byte in enumerate(text) if byte in b'{}[]":,'])
    return text[:at] + chance.choice([b"{", b"}", b"[", b"]", b'"', b":", b","]) + text[at + 1 :]


def _cut(text: bytes, chance: random.Random) -> bytes:
    return text[: chance.randrange(len(text))]


def _behind(text: bytes, chance: random.Random) -> bytes:
    return text[chance.randrange(1, len(text)) :]


def _value(text: bytes, chance: random.Random) -> bytes:
    return text[:-1] + b',"x":' + chance.choice(_VALUES) + b"}"


def _around(text: bytes, chance: random.Random) -> bytes:
    before, after = chance.choice(_AROUND)
    return before + text + after


def _coded(text: bytes, chance: random.Random) -> bytes:
    extended = text[:-1].decode(errors="replace") + ',"x":"\u20ac+"}'
    return extended.encode(chance.choice(_CODECS), errors="replace")


_CHANGES: tuple[Change, ...] = (
    _insert, _insert, _delete, _double, _swap, _cut, _behind, _value, _value, _value, _around, _coded,
)  # fmt: skip


def malformed(text: bytes, number: int) -> Iterator[bytes]:
    """Yield `number` different texts, made of a valid one; none of them is JSON in UTF-8."""
    chance = random.Random(7)
    seen: set[bytes] = set()
    values = (text[:-1] + b',"x":' + value + b"}" for value in _VALUES)
    frames = (before + text + after for before, after in _AROUND)
    for changed in (*values, *frames):
        if not is_json(changed) and changed not in seen and len(seen) < number:
            seen.add(changed)
            yield changed
    while len(seen) < number:
        changed = text
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            with suppress(IndexError, ValueError):  # it has become too short for this change
                changed = chance.choice(_CHANGES)(changed, chance)
        if not is_json(changed) and changed not in seen:
            seen.add(changed)
            yield changed


def is_json(data: bytes) -> bool:
    """True if the standard library reads it, and it keeps to RFC 8259 and UTF-8."""
    try:
        value = json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> None:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value
