"""Equal requests are answered once; no key sees another's answer unless it is configured so."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import DIALECTS, GEMINI, make_request
from tests.e2e.upstream import Answer, Script, Upstream, failing, frames, stream, whole
from tests.e2e.world import Body, Change, Config, Make, World, chat


def caching(scope: str = "key") -> Change:
    def change(value: Config) -> None:
        value["cache"] = {"default": "on", "ttl": "1h", "scope": scope}

    return change


@pytest.fixture
def cached(make: Make) -> World:
    return make(caching())


def ask(world: World, body: Body | bytes | None = None, **headers: str) -> str:
    """Send a request, wait for cache writes, and return the cache header of the reply."""
    reply = world.ask(chat() if body is None else body, **headers)
    world.loop.run(world.gateway.engine.drain())
    return str(reply.headers["x-tiergate-cache"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_second_equal_call_is_a_cache_hit(
    cached: World, upstream: Upstream, streamed: bool
) -> None:
    body = chat(stream=streamed)
    first, second = cached.ask(body), cached.ask(body)
    assert first.headers["x-tiergate-cache"] == "miss"
    assert second.headers["x-tiergate-cache"] == "hit"
    assert second.headers["x-tiergate-attempts"] == "0"
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers.get("x-tiergate-cost") == (None if streamed else "0")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("word", "before", "after"), [("off", "off", "miss"), ("refresh", "miss", "hit")]
)
def test_a_client_may_send_off_or_refresh(
    cached: World, upstream: Upstream, word: str, before: str, after: str
) -> None:
    """`off` bypasses the cache. `refresh` calls the provider and caches the new answer."""
    assert ask(cached, x_tiergate_cache=word) == before
    assert ask(cached) == after
    assert ask(cached, x_tiergate_cache=word) == before
    assert ask(cached) == "hit"
    assert len(upstream.requests) == 3 if word == "off" else 2


NOT_CACHED: list[tuple[str, Script, Body]] = [
    ("cut", stream(*frames()[:3]), {"stream": True}),
    ("an error", failing(400), {}),
    ("200 with an error", failing(200), {}),
    ("cut at the limit", whole(finish="length"), {}),
    ("filtered", stream(*frames(finish="content_filter")), {"stream": True}),
    ("sampled", whole(), {"temperature": 0.7}),
    ("several choices", whole(), {"n": 2}),
    ("stored there", whole(), {"store": True}),
    ("looks at the world", whole(), {"web_search_options": {}}),
]


@pytest.mark.parametrize(("script", "more"), [row[1:] for row in NOT_CACHED], ids=[row[0] for row in NOT_CACHED])  # fmt: skip
def test_the_cache_stores_no_bad_or_unrepeatable_answer(
    cached: World, upstream: Upstream, script: Answer, more: Body
) -> None:
    """SEC-CACHE 5."""
    upstream.on("/acme", script)
    for _ in range(2):
        assert ask(cached, chat(**more)) in ("off", "miss")
    assert len(upstream.requests) == 2


def keyed(folder: Path) -> Change:
    """Configure keys a and b of one tenant, c of another; each key is its own secret."""

    def change(value: Config) -> None:
        table = {
            name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": tenant}
            for name, tenant in (("a", "one"), ("b", "one"), ("c", "two"))
        }
        (folder / "keys.yaml").write_bytes(jsonio.dumps(table))
        value["keys"] = str(folder / "keys.yaml")

    return change


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("key", ["miss", "miss", "miss", "hit"]),
        ("tenant", ["miss", "hit", "miss", "hit"]),
        ("all", ["miss", "hit", "hit", "hit"]),
    ],
)
@pytest.mark.parametrize("shared", [False, True], ids=["memory", "redis"])
def test_the_cache_scope_decides_which_keys_share_an_answer(
    request: pytest.FixtureRequest, make: Make, tmp_path: Path, scope: str, expected: list[str], shared: bool
) -> None:  # fmt: skip
    """SEC-CACHE 1: answers are shared by key, by tenant or by all, in memory and in Redis."""
    url = {"REDIS_URL": request.getfixturevalue("redis_url")} if shared else {}
    world = make(caching(scope), keyed(tmp_path), **url)

    def cache_headers(at: int) -> list[str]:
        body = chat(f"Say {at}.")
        return [ask(world, body, authorization=f"Bearer {key}") for key in ("a", "b", "c", "a")]

    assert calm(world, cache_headers) == expected


def test_two_gateways_share_answers_through_one_redis(
    make: Make, redis_url: str, upstream: Upstream
) -> None:
    """One gateway records a stream, and the other answers whole from it without the provider."""
    both = {"REDIS_URL": redis_url, "TIERGATE_SECRET": "the same"}
    first, second = make(caching(), **both), make(caching(), **both)
    other = make(caching(), REDIS_URL=redis_url, TIERGATE_SECRET="another")

    def cache_headers(at: int) -> list[object]:
        before = len(upstream.requests)
        headers = [
            ask(first, chat(f"Say {at}.", stream=True)),
            ask(second, chat(f"Say {at}.")),
            ask(other, chat(f"Say {at}.")),
        ]
        return [*headers, len(upstream.requests) - before]

    for world in (second, other):
        calm(world, lambda at, world=world: [ask(world, chat(f"Hello {at}."))])  # type: ignore[misc]
    assert calm(first, cache_headers) == ["miss", "hit", "miss", 2]


@pytest.fixture
def shipped(make: Make) -> World:
    """Make a gateway with the shipped cache settings."""
    return make(lambda value: value.update(cache={}))


def test_equal_calls_at_the_providers_own_temperature_get_new_answers(
    shipped: World, upstream: Upstream
) -> None:
    """Clients send one request many times to regenerate, to vote among answers, or to make data."""
    upstream.on("/acme", whole("one"), whole("two"), whole("three"))
    replies = [shipped.ask(chat()) for _ in range(3)]
    contents = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
    assert contents == ["one", "two", "three"]
    assert [reply.headers["x-tiergate-cache"] for reply in replies] == ["off"] * 3
    assert [row.cache for row in shipped.entries()] == ["off"] * 3


@pytest.mark.parametrize("dialect", DIALECTS)
def test_calls_at_temperature_zero_are_cached_in_every_dialect(
    shipped: World, upstream: Upstream, dialect: str
) -> None:
    def cache_header(**more: Any) -> str:
        path, body = make_request(dialect, "smart", **more)
        reply = shipped.client.post(path, json=body)
        assert reply.status_code == 200, reply.text
        shipped.loop.run(shipped.gateway.engine.drain())
        return str(reply.headers["x-tiergate-cache"])

    cold: Body = {"temperature": 0}
    zero = {"generationConfig": cold} if dialect == GEMINI else cold
    assert [cache_header(), cache_header()] == ["off", "off"]
    assert [cache_header(**zero), cache_header(**zero)] == ["miss", "hit"]
    assert len(upstream.requests) == 3


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_a_client_turns_the_cache_on_for_a_call(shipped: World, upstream: Upstream) -> None:
    """Tools are cached too. The cached answer is only for calls that turn the cache on."""
    body = chat(tools=[TOOL])
    assert [ask(shipped, body, x_tiergate_cache="on") for _ in range(2)] == ["miss", "hit"]
    assert ask(shipped, body) == "off"
    assert ask(shipped, body, x_tiergate_cache="exact") == "off"
    assert len(upstream.requests) == 3


def test_only_the_header_refresh_stores_the_new_answer(shipped: World) -> None:
    """`refresh` caches the new answer; `cache-control: no-cache` only forbids a cached one."""
    for headers, after in (
        ({"cache_control": "no-cache"}, "miss"),
        ({"x_tiergate_cache": "refresh"}, "hit"),
    ):
        body = chat(f"Say hello after {after}.")
        first = ask(shipped, body, **headers)
        assert first == ("miss" if after == "hit" else "off")
        assert ask(shipped, body, x_tiergate_cache="on") == after


@pytest.mark.parametrize("word", ["maybe", "no-cache", "ON"])
def test_the_gateway_refuses_an_unknown_value_of_the_cache_header(
    shipped: World, word: str
) -> None:
    reply = shipped.ask(chat(), x_tiergate_cache=word)
    assert reply.status_code == 400
    assert "x-tiergate-cache must be on, off, refresh or exact." in reply.text


def test_one_guard_turns_the_cache_on_and_another_turns_it_off(make: Make) -> None:
    def change(value: Config) -> None:
        value["cache"] = {"default": "off"}
        value["guards"] = [
            {"name": "translations", "when": {"keywords": ["translate"]}, "cache": "on"},
            {"name": "secrets", "when": {"keywords": ["secret"]}, "no_cache": True},
        ]

    world = make(change)
    assert [ask(world, chat("translate this")) for _ in range(2)] == ["miss", "hit"]
    assert ask(world, chat("translate this"), x_tiergate_cache="off") == "off"
    body = chat("translate this secret")
    assert [ask(world, body, x_tiergate_cache="on") for _ in range(2)] == ["off", "off"]
    assert [ask(world, chat("hello", temperature=0)) for _ in range(2)] == ["off", "off"]


def test_a_client_key_has_its_own_cache_default(make: Make, tmp_path: Path) -> None:
    def change(value: Config) -> None:
        keyed(tmp_path)(value)
        table = jsonio.loads((tmp_path / "keys.yaml").read_bytes())
        table["a"]["cache"], table["b"]["cache"] = "on", "off"
        (tmp_path / "keys.yaml").write_bytes(jsonio.dumps(table))
        value["cache"] = {}

    world = make(change)
    for key, plain, zero in (
        ("a", ["miss", "hit"], ["miss", "hit"]),
        ("b", ["off", "off"], ["off", "off"]),
        ("c", ["off", "off"], ["miss", "hit"]),
    ):
        for body, expected in ((chat(), plain), (chat(temperature=0), zero)):
            headers = [ask(world, body, authorization=f"Bearer {key}") for _ in range(2)]
            assert headers == expected, key


def calm[T](world: World, attempt: Callable[[int], T]) -> T:
    """Retry until Redis kept its deadline of 100 ms, which a busy machine may miss."""
    for at in range(10):
        before = len(world.log)
        result = attempt(at)
        alive = world.gateway._state_store.alive
        if alive and len(world.log) == before:
            return result
    raise AssertionError(world.log)
