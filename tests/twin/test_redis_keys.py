"""The keys that gateways leave in Redis are compared by name, type, time to live and value."""

import copy
import struct
import time
from typing import Any

import msgspec
import pytest

from tests.twin import redis_keys
from tests.twin.masks import Masks

CACHED, SPENT = "tiergate:cache:" + "a" * 48, "tiergate:{acme}:1:spent"
KEYS: redis_keys.Keys = {
    CACHED: {"type": "string", "ttl": 3600, "value": {"body": "Hi."}},
    SPENT: {"type": "hash", "ttl": -1, "value": {"usd|all": "12"}},
}


def compared(tree: redis_keys.Keys) -> list[tuple[str, str]]:
    return [difference.kind for difference in redis_keys.compare(KEYS, tree)]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({}, []),
        ({"ttl": 3590}, []),
        ({"ttl": 60}, ["ttl"]),
        ({"ttl": -1}, ["ttl"]),
        ({"type": "list"}, ["type"]),
        ({"value": {"body": "Ho."}}, ["$.body"]),
    ],
)
def test_a_changed_key_is_seen(change: dict[str, Any], kinds: list[str]) -> None:
    tree = copy.deepcopy(KEYS)
    tree[CACHED].update(change)
    assert compared(tree) == [("redis cache:*", kind) for kind in kinds]


def test_missing_and_new_keys_are_seen() -> None:
    assert compared({CACHED: KEYS[CACHED]}) == [("redis {acme}:1:spent", "key is gone")]
    tree = {SPENT: KEYS[SPENT], "tiergate:cache:" + "b" * 48: KEYS[CACHED]}
    assert compared(tree) == [("redis cache:*", "key is gone"), ("redis cache:*", "key is new")]


def test_keys_whose_names_contain_ids_are_matched_by_their_values() -> None:
    stored = {"type": "string", "ttl": 60, "value": {"id": "resp_tg-<3.1>", "text": "Hi."}}
    names = [f"tiergate:response:{letter * 48}" for letter in "ab"]
    assert [*redis_keys.compare({names[0]: stored}, {names[1]: stored})] == []
    other = {**stored, "value": {"id": "resp_tg-<3.1>", "text": "Ho."}}
    differences = redis_keys.compare({names[0]: stored}, {names[1]: other})
    assert sorted(difference.what for difference in differences) == ["key is gone", "key is new"]


def test_a_packed_value_is_read_without_its_seal() -> None:
    value = {"at": time.time(), "id": "tg-1a2264c3df2243e2815a3a7", "body": b"Hi.", "count": 3, "old": 1_700_000_000.5}  # fmt: skip
    data = struct.pack("16sB", b"\x80" * 16, 1) + msgspec.msgpack.encode(value)
    masks = Masks()
    masks.begin("5")
    expected = {"at": "<now>", "id": "tg-<5.1>", "body": "Hi.", "count": 3, "old": 1_700_000_000.5}
    assert redis_keys.unpack(data, masks) == expected
    assert redis_keys.unpack(b"12345", masks) == "12345"
