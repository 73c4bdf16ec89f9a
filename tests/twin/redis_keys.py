"""Keys that a gateway leaves in Redis: their names, types, time to live and values."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import redis

from tests.twin.compare import TwinDifference
from tests.twin.diff import MISSING, values
from tests.twin.masks import Masks

type Keys = dict[str, dict[str, Any]]
"""Type, time to live (`ttl`) and masked value of each key."""

_SEAL = 16
"""Bytes before a packed value that bind it to its name and to all of its content, times too."""
_MASKED_ID = re.compile(r"tg-?<\d+\.\d+>")
_TTL_MARGIN = 120
"""Seconds by which two times to live may differ: the keys were written at different moments."""
_RUN, _REFILLED = 600e6, 0.3
"""Microseconds of a long run, and the most units that a rate regains in it and still is compared."""
_LARGEST_SECONDS = 1e14
"""The largest number that may be seconds of the epoch; a larger one is in microseconds."""


def read(url: str, masks: Masks) -> Keys:
    """Read all keys of a Redis."""
    keys: Keys = {}
    client: Any = redis.Redis.from_url(url)
    with closing(client):
        for name in sorted(client.scan_iter(count=1000)):
            kind = client.type(name).decode()
            keys[name.decode("utf-8", "backslashreplace")] = {
                "type": kind,
                "ttl": client.ttl(name),
                "value": _value(client, name, kind, masks),
            }
    return keys


def _value(client: Any, name: bytes, kind: str, masks: Masks) -> Any:
    if kind == "string":
        return unpack(client.get(name), masks)
    if kind == "hash":
        pairs = sorted(client.hgetall(name).items())
        if name.endswith(b":rate"):
            return {masks.text(field): _rate(value) for field, value in pairs}
        return {masks.text(field): unpack(value, masks) for field, value in pairs}
    if kind == "zset":
        pairs = client.zrange(name, 0, -1, withscores=True)
        return [[masks.text(member), masks.text(f"{score:.0f}")] for member, score in pairs]
    return f"a {kind}, which the comparison does not read"


def unpack(data: bytes, masks: Masks) -> Any:
    """Read a value as msgpack behind a seal and a version, as plain msgpack, or as text."""
    for packed in (data[_SEAL + 1 :], data):
        if len(packed) > 1 or packed == data:
            try:
                return _mask(msgspec.msgpack.decode(packed), masks)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
    return masks.text(data)


def _mask(value: Any, masks: Masks) -> Any:
    match value:
        case dict():
            return {str(_mask(name, masks)): _mask(item, masks) for name, item in value.items()}
        case list():
            return [_mask(item, masks) for item in value]
        case str() | bytes():
            return masks.text(value)
        case float() | int() if not isinstance(value, bool):
            seconds = value / 1e6 if value > _LARGEST_SECONDS else value
            return "<now>" if masks.is_now(seconds) else value
    return value


def _rate(data: bytes) -> Any:
    """Read the state of a rate: its units, or True if it holds some and regains them during the run."""
    at, level, held, period, limit = msgspec.msgpack.decode(data)
    refills = limit * _RUN / period > _REFILLED
    units = level > 0 if refills else round(level / period)
    return {"at": bool(at), "units": units, "held": held, "period": period, "limit": limit}


def compare(base: Keys, tree: Keys) -> Iterator[TwinDifference]:
    """Compare keys by their names.

    The name of a key that belongs to the id of a call is a hash of that id. Its value has the id,
    too, so the comparison matches such keys by their values.
    """
    for name in sorted(base.keys() & tree.keys()):
        yield from _compare_key(name, base[name], tree[name])
    gone, new = _by_value(base, tree), _by_value(tree, base)
    for content in sorted(gone.keys() | new.keys()):
        before, after = gone.get(content, []), new.get(content, [])
        for name in before[len(after) :]:
            yield TwinDifference("redis", name, _place(name), "key is gone", name, MISSING)
        for name in after[len(before) :]:
            yield TwinDifference("redis", name, _place(name), "key is new", MISSING, name)


def _compare_key(name: str, base: dict[str, Any], tree: dict[str, Any]) -> Iterator[TwinDifference]:
    place = _place(name)
    if base["type"] != tree["type"]:
        yield TwinDifference("redis", name, place, "type", base["type"], tree["type"])
    expires = base["ttl"] >= 0, tree["ttl"] >= 0
    if expires[0] != expires[1] or abs(base["ttl"] - tree["ttl"]) > _TTL_MARGIN:
        yield TwinDifference("redis", name, place, "ttl", str(base["ttl"]), str(tree["ttl"]))
    for what, was, now in values(base["value"], tree["value"]):
        yield TwinDifference("redis", name, place, what, was, now)


def _by_value(keys: Keys, others: Keys) -> dict[str, list[str]]:
    """List the names that only `keys` has, by their value if it has the id of a call."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for name in sorted(keys.keys() - others.keys()):
        key = keys[name]
        value = json.dumps(key["value"])
        content = [_place(name), key["type"], key["ttl"] >= 0, value]
        grouped[json.dumps(content if _MASKED_ID.search(value) else [name])].append(name)
    return grouped


def _place(name: str) -> str:
    """Name the kind of a key: its name without hashes."""
    return "redis " + re.sub(r"[0-9a-f]{20,}", "*", name.removeprefix("tiergate:"))
