"""End users are known by a keyed hash: the same for each session, another for each key."""

import hmac
import re

import msgspec
import pytest

from gateway.core.call import Call, Key
from gateway.dialects import DIALECTS
from gateway.pipeline import end_users
from gateway.pipeline.end_users import EndUserHasher

MESSAGES = DIALECTS["anthropic-messages"]
CALL = Call(
    id="tg-1",
    dialect=MESSAGES.name,
    operation="generate",
    body=b"{}",
    key=Key(name="k", tenant="t"),
    received_at=0.0,
    started_at=0.0,
)


def find(call: Call, metadata: bytes = b"null") -> str | None:
    raw = b'{"model":"m","max_tokens":1,"messages":[],"metadata":%b}' % metadata
    return EndUserHasher(b"secret").find(call, MESSAGES, MESSAGES.read(raw))


def test_a_call_has_the_hash_of_the_end_user_that_its_header_or_else_its_body_names() -> None:
    named = msgspec.structs.replace(CALL, end_user="ann")
    assert find(CALL) is None
    assert re.fullmatch("[0-9a-f]{16}", find(named) or "")
    assert find(CALL, b'{"user_id":"ann"}') == find(named) == find(named, b'{"user_id":"bob"}')
    assert find(CALL, b'{"user_id":"bob"}') != find(named)
    assert find(CALL, b'{"user_id":"{\\"session_id\\":\\"s\\"}"}') is None


def test_the_hash_differs_by_secret_tenant_and_key() -> None:
    hasher = EndUserHasher(b"secret")
    hashes = [
        hasher.hash_id("t", "k", "ann"),
        hasher.hash_id("t", "k2", "ann"),
        hasher.hash_id("t2", "k", "ann"),
        hasher.hash_id("t", "k", "bob"),
        EndUserHasher(b"other").hash_id("t", "k", "ann"),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hasher.hash_id("t", "k", "ann") == hashes[0]


def test_the_hash_is_the_beginning_of_an_hmac() -> None:
    secret = bytes(range(32))
    expected = hmac.digest(secret, b"t\0k\0ann", "sha256").hex()[:16]
    assert EndUserHasher(secret).hash_id("t", "k", "ann") == expected


def test_sessions_of_one_person_have_one_hash() -> None:
    hasher = EndUserHasher(b"secret")
    texts = [f"user_d_account_a_session_{number}" for number in range(3)]
    assert len({hasher.hash_id("t", "k", text) for text in texts}) == 1


def test_the_cache_of_hashes_is_bounded_and_keeps_no_long_id() -> None:
    hasher = EndUserHasher(b"secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(end_users, "_MAX_CACHED", 2)
        first = [hasher.hash_id("t", "k", name) for name in "abc"]
        assert len(hasher._hashes) == 1
        assert [hasher.hash_id("t", "k", name) for name in "abc"] == first
    long = "x" * 513
    assert hasher.hash_id("t", "k", long) == hasher.hash_id("t", "k", long) is not None
    assert all(len(user) < 513 for _, _, user in hasher._hashes)
    assert hasher.hash_id("t", "k", "\ud800") is not None
