"""Pairs of requests, most of which differ in one thing, and a check if they may share an answer."""

import random
from collections.abc import Iterator

import msgspec

from gateway.cache.key import Sharing, make_key, make_scope, start_hash
from gateway.core.call import Key

_WORDS = (
    "",
    "a",
    "b",
    "ab",
    "ba",
    "a\0",
    "\0a",
    'a"',
    '",',
    "[]",
    ":",
    "\n",
    "é",
    "e\u0301",
    "A",
    "a ",
    "\u00e9a",
    "x" * 64,
)
_VALUES = (
    b"1", b"1.0", b"1e0", b'"a"', b'"b"', b"[]", b"[ ]", b'{"a":1}', b'{"a": 1}', b'{"a":1,"b":2}', b'{"b":2,"a":1}', b"null",
    b"true", b'"\\u0061"', b'"e\xcc\x81"', b'"\xc3\xa9"', b'[{"role":"user","content":"hi"}]', b'[{"content":"hi","role":"user"}]',
)  # fmt: skip
_MEMBERS = (
    "model",
    "messages",
    "seed",
    "tools",
    "system",
    "user",
    "n",
    "stop",
    "a",
    "ab",
    "stream",
    "stream_options",
)
_HEADERS = ("anthropic-beta", "openai-beta", "a", "ab")

type RequestParts = dict[str, object]


def _random_request(chance: random.Random) -> RequestParts:
    return {
        "who": Key(name=chance.choice(_WORDS), tenant=chance.choice(_WORDS)),
        "dialect": chance.choice(_WORDS),
        "operation": chance.choice(_WORDS),
        "target": chance.choice(_WORDS),
        "members": {name: chance.choice(_VALUES) for name in chance.sample(_MEMBERS, 3)},
        "headers": {name: chance.choice(_WORDS) for name in chance.sample(_HEADERS, 1)},
    }


def _cache_key(parts: RequestParts, sharing: Sharing) -> str:
    key, members = parts["who"], parts["members"]
    assert isinstance(key, Key)
    assert isinstance(members, dict)
    shared = start_hash(
        secret=b"s" * 32, scope=make_scope(sharing, key), dialect=str(parts["dialect"]), operation=str(parts["operation"]),
        target=str(parts["target"]),
    )  # fmt: skip
    raw = {name: msgspec.Raw(value) for name, value in members.items()}
    return make_key(shared, raw, parts["headers"])  # type: ignore[arg-type]


def _meaning(parts: RequestParts, sharing: Sharing) -> RequestParts:
    """Return the parts that must be equal, by their meaning and not by the cache key's code."""
    key, members = parts["who"], parts["members"]
    assert isinstance(key, Key)
    assert isinstance(members, dict)
    shared_by = {"key": (key.tenant, key.name), "tenant": (key.tenant,), "all": ()}[sharing]
    essential = {k: v for k, v in members.items() if k not in ("stream", "stream_options")}
    return {**parts, "who": shared_by, "members": essential}


def pairs(number: int) -> Iterator[str]:
    """SEC-CACHE 2, 3: yield the mistake for each of `number` pairs, empty if there is none."""
    chance = random.Random(83)
    for _ in range(number):
        first = _random_request(chance)
        part = chance.choice([*first, "order", "nothing"])
        second = dict(first)
        if part == "order":
            members = first["members"]
            assert isinstance(members, dict)
            second["members"] = dict(sorted(members.items(), reverse=True))
        elif part != "nothing":
            second[part] = _random_request(chance)[part]
        for sharing in ("key", "tenant", "all"):
            is_same_key = _cache_key(first, sharing) == _cache_key(second, sharing)
            is_same_meaning = _meaning(first, sharing) == _meaning(second, sharing)
            if is_same_key != is_same_meaning:
                yield f"{first} and {second} {'meet' if is_same_key else 'do not meet'}"
                break
        else:
            yield ""
