"""The response cache: which requests it takes, which answers it stores, and who gets them back."""

import msgspec
import pytest

from gateway.cache.cached_response import CachedResponse
from gateway.cache.key import Sharing
from gateway.cache.response_cache import MAX_BODY_BYTES, ResponseStore
from gateway.core.call import OPEN_KEY, Call, Key
from gateway.core.target import Provider, Target
from gateway.dialects import OPENAI_CHAT
from gateway.state.memory import MemoryStore
from tests.cache.recorded import DONE, TEXT, recording

BODY = b'{"model":"auto","messages":[{"role":"user","content":"hi"}]}'
TARGET = Target(provider=Provider(name="openai", urls={}), model="gpt-6-luna")
MADE = recording(TEXT + DONE)
NOW = MADE.created + 60


class LostStore:
    """A store that has lost everything."""

    alive = False

    async def get(self, key: str) -> bytes | None:
        return None

    async def put(self, key: str, value: bytes, ttl: float) -> None: ...

    def put_nowait(self, key: str, value: bytes, ttl: float) -> None: ...

    async def drain(self) -> None: ...

    async def close(self) -> None: ...


def memory() -> MemoryStore:
    return MemoryStore(64_000_000, clock=lambda: 0.0)


def exact(
    store: MemoryStore | LostStore | None = None,
    *,
    ttl: float = 3600.0,
    now: float = NOW,
    sharing: Sharing = "key",
    secret: bytes = b"s" * 32,
) -> ResponseStore:
    return ResponseStore(
        store or memory(),
        secret=secret,
        ttl=ttl,
        clock=lambda: now,
        sharing=sharing,
    )


def key(
    cache: ResponseStore, who: Key = OPEN_KEY, body: bytes = BODY, headers: tuple[str, ...] = ()
) -> str:
    call = Call(
        id="1",
        dialect="openai-chat",
        operation="generate",
        body=body,
        headers=dict.fromkeys(headers, "x"),
        key=who,
        received_at=0.0,
        started_at=0.0,
    )
    return cache.make_key(call, OPENAI_CHAT.read(body).members, TARGET)


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
def test_the_cache_accepts_only_a_complete_answer_of_the_first_target(finish: str) -> None:
    """SEC-CACHE 5: the cache stores no other answer."""
    cached = msgspec.structs.replace(MADE, finish=finish)
    assert exact().accepts(cached, status=200, complete=True, is_first=True)
    for status, complete, is_first in [
        (201, True, True), (200, False, True), (200, True, False), (429, True, True)
    ]:  # fmt: skip
        assert not exact().accepts(cached, status=status, complete=complete, is_first=is_first)


@pytest.mark.parametrize(
    "finish",
    ["length", "content_filter", None, "", "error", "insufficient_system_resource", "abort"],
)
def test_the_cache_refuses_an_incomplete_answer(finish: str | None) -> None:
    """SEC-CACHE 5: answers that are cut, filtered or unknown."""
    cached = msgspec.structs.replace(MADE, finish=finish)
    assert not exact().accepts(cached, status=200, complete=True, is_first=True)


@pytest.mark.parametrize(("length", "fits"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)])
async def test_the_cache_refuses_an_answer_over_the_limit(length: int, fits: bool) -> None:
    cached = msgspec.structs.replace(MADE, body=bytes(length))
    cache = exact()
    assert cache.accepts(cached, status=200, complete=True, is_first=True) is fits
    cache.store("k", cached)
    assert await cache.find("k") == (cached if fits else None) or not fits


async def test_a_stored_answer_is_found() -> None:
    cache = exact()
    name = key(cache)
    assert await cache.find(name) is None
    cache.store(name, MADE)
    assert await cache.find(name) == MADE


async def test_law_9_an_answer_reaches_only_keys_that_share_it() -> None:
    """SEC-CACHE 1: one store, several keys: an answer goes only to the keys that share it."""
    ann, bob = Key(name="ann"), Key(name="bob")
    eve = Key(name="ann", tenant="other")
    for sharing, expected in (("key", (True, False, False)), ("tenant", (True, True, False)), ("all", (True,) * 3)):  # fmt: skip
        cache = exact(sharing=sharing)  # type: ignore[arg-type]
        cache.store(key(cache, ann), MADE)
        is_hit = [await cache.find(key(cache, who)) == MADE for who in (ann, bob, eve)]
        assert tuple(is_hit) == expected


def test_forwarded_headers_change_the_key_except_those_of_a_single_call() -> None:
    cache = exact()
    plain = key(cache)
    assert key(cache, headers=("openai-beta",)) != plain
    assert key(cache, headers=("idempotency-key", "traceparent", "x-session-id")) == plain


@pytest.mark.parametrize(("age", "hit"), [(3599.0, True), (3601.0, False)])
async def test_a_shorter_time_to_live_applies_to_stored_answers(age: float, hit: bool) -> None:
    store = memory()
    exact(store, ttl=1e6).store("k", MADE)
    cached = await exact(store, ttl=3600, now=MADE.created + age).find("k")
    assert (cached == MADE) is hit


async def test_a_store_in_this_process_needs_no_seal() -> None:
    """The cache finds the value again; anything but a recording of this version is a miss."""
    store = memory()
    cache = ResponseStore(store, secret=b"s" * 32, ttl=3600, clock=lambda: NOW, is_sealed=False)
    cache.store("k", MADE)
    await cache.drain()
    assert await cache.find("k") == MADE
    value = await store.get("cache:k")
    assert value is not None
    assert len(value) < len(await sealed(MADE))
    for foreign in (b"x", value[1:], b"\x02" + value[1:]):
        await store.put("cache:k", foreign, 60)
        assert await cache.find("k") is None


async def sealed(recording: CachedResponse) -> bytes:
    store = memory()
    exact(store).store("k", recording)
    value = await store.get("cache:k")
    assert value is not None
    return value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"\x80\x04K\x01.",
        b'{"body":"x"}',
        bytes(50_000_000),
        bytes(16) + b"\x01" + msgspec.msgpack.encode(MADE),
    ],
    ids=["empty", "short", "pickle", "json", "long", "unsealed"],
)
async def test_a_foreign_value_is_a_miss(value: bytes) -> None:
    """SEC-CACHE 4: garbage, a pickle, a value that is too long, a value without a seal."""
    store = memory()
    await store.put("cache:k", value, 60)
    assert await exact(store).find("k") is None


async def test_a_value_moved_to_another_key_is_a_miss() -> None:
    """SEC-CACHE 4: write access to a shared Redis cannot hand one client the answer of another."""
    store = memory()
    cache = exact(store)
    cache.store("theirs", MADE)
    value = await store.get("cache:theirs")
    assert value is not None
    await store.put("cache:mine", value, 60)
    assert await cache.find("theirs") == MADE
    assert await cache.find("mine") is None
    await store.put("cache:theirs", value[:-1] + b"\xff", 60)
    assert await cache.find("theirs") is None


async def test_a_cache_with_another_secret_finds_nothing() -> None:
    store = memory()
    exact(store).store("k", MADE)
    assert await exact(store, secret=b"rotated").find("k") is None


async def test_an_unavailable_store_is_a_miss() -> None:
    cache = exact(LostStore())
    cache.store("k", MADE)
    assert await cache.find("k") is None


async def test_a_foreign_value_is_reported_once_a_minute() -> None:
    """The message quotes nothing of the value."""
    store, notes, now = memory(), list[str](), [NOW]
    cache = ResponseStore(
        store, secret=b"s" * 32, ttl=3600, clock=lambda: now[0], note=notes.append
    )  # fmt: skip
    await store.put("cache:" + key(cache), b"planted by a stranger", 60)
    for seconds in (0, 30, 30):
        now[0] += seconds
        assert await cache.find(key(cache)) is None
    assert len(notes) == 2
    assert "planted" not in notes[0]


def test_the_forwarded_query_changes_the_key() -> None:
    """The query reaches the provider, as the forwarded headers do."""
    cache, members = exact(), OPENAI_CHAT.read(BODY).members
    calls = [
        Call(
            id="1", dialect="anthropic-messages", operation="generate", body=BODY, query=query,
            received_at=0.0, started_at=0.0,
        )
        for query in ("", "beta=true")
    ]  # fmt: skip
    assert len({cache.make_key(call, members, TARGET) for call in calls}) == 2
