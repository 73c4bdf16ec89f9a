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

type Made = dict[str, object]


def _made(chance: random.Random) -> Made:
    return {
        "who": Key(name=chance.choice(_WORDS), tenant=chance.choice(_WORDS)),
        "dialect": chance.choice(_WORDS),
        "operation": chance.choice(_WORDS),
        "target": chance.choice(_WORDS),
        "members": {one: chance.choice(_VALUES) for one in chance.sample(_MEMBERS, 3)},
        "headers": {one: chance.choice(_WORDS) for one in chance.sample(_HEADERS, 1)},
    }


def _keyed(made: Made, sharing: Sharing) -> str:
    who, members = made["who"], made["members"]
    assert isinstance(who, Key)
    assert isinstance(members, dict)
    shared = start_hash(
        secret=b"s" * 32, scope=make_scope(sharing, who), dialect=str(made["dialect"]), operation=str(made["operation"]),
        target=str(made["target"]),
    )  # fmt: skip
    raw = {name: msgspec.Raw(value) for name, value in members.items()}
    return make_key(shared, raw, made["headers"])  # type: ignore[arg-type]


def _meaning(made: Made, sharing: Sharing) -> Made:
    """Return the parts that must be equal, by their meaning and not by the cache key's code."""
    who, members = made["who"], made["members"]
    assert isinstance(who, Key)
    assert isinstance(members, dict)
    by = {"key": (who.tenant, who.name), "tenant": (who.tenant,), "all": ()}[sharing]
    told = {k: v for k, v in members.items() if k not in ("stream", "stream_options")}
    return {**made, "who": by, "members": told}


def pairs(number: int) -> Iterator[str]:
    """SEC-CACHE 2, 3: yield the mistake for each of `number` pairs, empty if there is none."""
    chance = random.Random(83)
    for _ in range(number):
        one = _made(chance)
        part = chance.choice([*one, "order", "nothing"])
        other = dict(one)
        if part == "order":
            members = one["members"]
            assert isinstance(members, dict)
            other["members"] = dict(sorted(members.items(), reverse=True))
        elif part != "nothing":
            other[part] = _made(chance)[part]
        for sharing in ("key", "tenant", "all"):
            same = _keyed(one, sharing) == _keyed(other, sharing)
            alike = _meaning(one, sharing) == _meaning(other, sharing)
            if same != alike:
                yield f"{one} and {other} {'meet' if same else 'do not meet'}"
                break
        else:
            yield ""
