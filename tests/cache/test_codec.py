"""Names and seals are the same in every version: several versions may share one Redis."""

import hashlib
import random

from gateway.cache.codec import SealedStore, make_seal
from gateway.state.memory import MemoryStore

SECRET = b"s" * 32


def name(kind: str, *parts: str) -> str:
    digest = hashlib.blake2b(key=SECRET, digest_size=24, person=b"tiergate name 1")
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8) + data)
    return f"{kind}:{digest.hexdigest()}"


def test_a_name_depends_on_all_parts_and_their_order() -> None:
    chance = random.Random(1)
    sealed = SealedStore(MemoryStore(1_000, clock=lambda: 0.0), secret=SECRET, kind="a")
    words = ["", "x", "xx", "é", "\ud800", '["key","t","n"]', "long" * 99]
    for _ in range(2_000):
        parts = chance.choices(words, k=chance.randint(1, 4))
        assert sealed.make_name(*parts) == name("a", *parts)


def test_the_cache_of_name_prefixes_is_bounded() -> None:
    sealed = SealedStore(MemoryStore(1_000, clock=lambda: 0.0), secret=SECRET, kind="a")
    for number in range(5_000):
        assert sealed.make_name(f"{number}", "x") == name("a", f"{number}", "x")
    assert len(sealed._prefix_hashes) <= 4_096


async def test_the_store_puts_the_seal_before_the_value() -> None:
    store = MemoryStore(1_000_000, clock=lambda: 0.0)
    sealed = SealedStore(store, secret=SECRET, kind="a")
    for data in (b"", b"x", b"y" * 5_000):
        sealed.post("a:1", data, 60.0)
        value = await store.get("a:1")
        assert value == make_seal(SECRET, b"tiergate seal 2", "a:1", data) + data
        assert await sealed.get("a:1") == data
