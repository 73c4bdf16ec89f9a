"""Equal calls at the same time are one upstream call; the first pays, and may leave."""

import socket
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import httpx
import pytest

from gateway.cache.coalescing import Subscriber
from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from gateway.pipeline.coalescer import UpstreamSubscriber
from gateway.upstream.upstream_request import UpstreamResponse
from tests.e2e.child import until
from tests.e2e.service import read_until
from tests.e2e.test_cache import caching
from tests.e2e.upstream import (
    PATIENCE,
    WORDS,
    Answer,
    Script,
    Upstream,
    chunk,
    failing,
    frames,
    stream,
    whole,
)  # fmt: skip
from tests.e2e.world import Body, Make, World, abort, chat, left_after, spared, subscribers

FRAMES = frames()
UNTOLD = b"".join((*FRAMES[:-2], FRAMES[-1]))
"""The stream of a client that asked for no usage."""
HEL = chunk({"content": WORDS[0]})
STREAMED = chat(stream=True)
COST = Decimal("0.000019")
"""USD of 7 tokens in and 3 out of able-1."""
SOON = 2.0
"""Seconds; tests/e2e/test_final_rows.py holds how soon it is."""


@pytest.fixture
def cached(make: Make) -> World:
    return make(caching())


def wait_for_subscribers(world: World, count: int) -> None:
    """Wait until that many calls are on flights."""
    until(lambda: len(subscribers(world.gateway.engine)) == count, "all share an answer")


def check_all_calls_ended(world: World) -> None:
    """Check that no coalesced call is left."""
    wait_for_subscribers(world, 0)
    world.loop.run(world.gateway.engine.drain())
    assert not world.gateway.engine._coalescer._flights._by_key


def ask(
    pool: ThreadPoolExecutor, world: World, body: Body, count: int = 1
) -> list[Future[httpx.Response]]:
    """Call, and wait until all calls share an upstream call."""
    before = len(subscribers(world.gateway.engine))
    futures = [pool.submit(world.ask, body) for _ in range(count)]
    wait_for_subscribers(world, before + count)
    return futures


def held_back(answer: Answer) -> Answer:
    """Send the head at once, and the body at the release."""
    return replace(answer, pieces=(None, *answer.pieces))


def by_cache(entries: list[FinalRow]) -> tuple[FinalRow, list[FinalRow]]:
    """Return the row of the call that reached the provider, and the rows of the others."""
    (first,) = [entry for entry in entries if entry.cache == "miss"]
    return first, [entry for entry in entries if entry.cache == "hit"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_hundred_equal_calls_are_one_upstream_call(
    cached: World, upstream: Upstream, streamed: bool
) -> None:
    """All get the same bytes; one pays the provider's bill, and the others are hits."""
    upstream.on("/acme", held_back(stream() if streamed else whole()))
    with ThreadPoolExecutor(100) as pool:
        calls = ask(pool, cached, chat(stream=streamed), 100)
        cached.release()
        replies = [future.result(PATIENCE) for future in calls]
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.content for reply in replies} == {
        UNTOLD if streamed else b"".join(piece or b"" for piece in whole().pieces)
    }
    cache_headers = [reply.headers["x-tiergate-cache"] for reply in replies]
    assert (cache_headers.count("miss"), cache_headers.count("hit")) == (1, 99)
    assert {reply.headers["x-tiergate-model"] for reply in replies} == {"able-1"}
    check_all_calls_ended(cached)
    assert len(upstream.requests) == 1
    first, rest = by_cache(cached.entries())
    assert (first.state, first.attempts, first.cost) == ("settled", 1, COST)
    assert len(rest) == 99
    assert {(e.state, e.attempts, e.cost, e.input, e.output) for e in rest} == {
        ("cache_hit", 0, Decimal(0), 7, 3)
    }


def test_a_late_client_gets_the_stream_from_its_beginning_and_then_live(
    cached: World, upstream: Upstream
) -> None:
    upstream.on("/acme", stream(*FRAMES[:2], None, *FRAMES[2:], bill=(7, 3)))
    with cached.leaving(STREAMED) as first, cached.leaving(STREAMED) as second:
        read_until(first, HEL)
        read_until(second, HEL)
        cached.release()
        read_until(first, b"[DONE]")
        read_until(second, b"[DONE]")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("begun", [False, True], ids=["before it begins", "in its middle"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_call_continues_for_others_when_the_first_client_leaves(
    cached: World, upstream: Upstream, streamed: bool, begun: bool
) -> None:
    """The first pays: the ledger has the whole bill of the call that it caused."""
    body = chat(stream=streamed)
    answer, sign = (stream(), HEL) if streamed else (whole(), b"HTTP/1.1 200")
    cut = 2 if begun and streamed else 0
    upstream.on("/acme", replace(answer, pieces=(*answer.pieces[:cut], None, *answer.pieces[cut:])))
    with ThreadPoolExecutor(2) as pool:
        with cached.leaving(body) as first:
            wait_for_subscribers(cached, 1)
            if begun and streamed:
                read_until(first, sign)
            others = ask(pool, cached, body, 2)
            abort(first)
        until(
            lambda: (
                any(subscriber.has_left for subscriber in list_subscribers(cached))
                or len(list_subscribers(cached)) == 2
            ),
            "one has left",
        )
        cached.release()
        replies = [other.result(PATIENCE) for other in others]
    expected = UNTOLD if streamed else answer.pieces[0]
    assert [reply.content for reply in replies] == [expected, expected]
    check_all_calls_ended(cached)
    assert len(upstream.requests) == 1
    assert not upstream.requests[0].left.is_set()
    paying, rest = by_cache(cached.entries())
    assert (paying.state, paying.status, paying.aborted_by) == ("aborted", 499, "client")
    assert (paying.cost, paying.input, paying.output) == (COST, 7, 3)
    assert [(entry.state, entry.cost) for entry in rest] == [("cache_hit", Decimal(0))] * 2


def list_subscribers(world: World) -> list[UpstreamSubscriber]:
    return subscribers(world.gateway.engine)


@pytest.mark.parametrize("begun", [False, True], ids=["before it begins", "in its middle"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the first first", "the first last"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_call_ends_when_its_last_client_leaves(
    cached: World, upstream: Upstream, order: tuple[int, int], begun: bool, streamed: bool
) -> None:
    """C-02: the provider is left as for one client, and not before; no state is left or lost."""
    body = chat(stream=streamed)
    if begun and streamed:
        upstream.on("/acme", stream(*FRAMES[:2], end="stall"))
    else:
        upstream.on("/acme", Answer(status=0 if not begun else 200, end="stall", length=99))
    with cached.leaving(body) as first:
        request = upstream.arrived()
        wait_for_subscribers(cached, 1)
        with cached.leaving(body) as second:
            wait_for_subscribers(cached, 2)
            clients = (first, second)
            if begun and streamed:
                for client in clients:
                    read_until(client, HEL)
            abort(clients[order[0]])
            until(lambda: has_one_subscriber(cached), "one has left")
            assert not request.left.is_set()
            since = abort(clients[order[1]])
            assert left_after(request, since) < SOON
    check_all_calls_ended(cached)
    assert len(upstream.requests) == 1
    paying, (hit,) = by_cache(cached.entries())
    for entry in (paying, hit):
        assert (entry.state, entry.status, entry.aborted_by) == ("aborted", 499, "client")
    estimated_cost = Decimal("0.00001") if begun and streamed else None  # "Hel", and the prompt
    assert (paying.cost, hit.cost) == (estimated_cost, Decimal(0))


def has_one_subscriber(world: World) -> bool:
    """True if one of two clients has left, even while its call still serves the other."""
    (flight,) = {subscriber.flight for subscriber in subscribers(world.gateway.engine)}
    return len(flight.subscribers) == 1


def test_a_first_client_that_does_not_read_delays_no_other(
    cached: World, upstream: Upstream
) -> None:
    """Others get the answer as fast as it comes; a slow client finds all of it when it reads."""
    words = ["x" * 100_000] * 40
    pieces = frames(words, counts=None)
    upstream.on("/acme", stream(*pieces))
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", cached.port))
        data = jsonio.dumps(STREAMED)
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        slow.sendall(b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(data), data))
        wait_for_subscribers(cached, 1)
        assert cached.ask(STREAMED).content == b"".join(pieces)
        rest = b""
        while part := slow.recv(1_000_000):
            rest += part
    assert rest.count(b"x" * 100_000) == 40
    assert len(upstream.requests) == 1
    check_all_calls_ended(cached)
    first, (hit,) = by_cache(cached.entries())
    assert (first.state, hit.state) == ("estimated", "cache_hit")


def test_a_whole_answer_can_share_a_stream_but_streams_share_only_equal_forms(
    cached: World, upstream: Upstream
) -> None:
    upstream.on("/acme", held_back(stream()), held_back(whole()))
    calls = STREAMED | {"stream_options": {"include_usage": True}}
    with ThreadPoolExecutor(4) as pool:
        (first,) = ask(pool, cached, STREAMED)
        upstream.arrived()
        (whole_call,) = ask(pool, cached, chat())
        (other,) = ask(pool, cached, calls)
        until(lambda: len(upstream.requests) == 2, "a second request")
        cached.release()
        cached.release()
        assert first.result(PATIENCE).content == UNTOLD
        value = whole_call.result(PATIENCE).json()
        other.result(PATIENCE)
    assert value["choices"][0]["message"]["content"] == "".join(WORDS)
    assert value["usage"]["total_tokens"] == 10
    assert whole_call.result().headers["x-tiergate-cost"] == "0"


FAILING: list[tuple[str, Script, int, str]] = [
    ("refused", held_back(failing(400)), 400, "upstream_rejected"),
    ("gone", Answer(pieces=(None,), end="cut", length=9), 502, "upstream_truncated"),
]


@pytest.mark.parametrize(
    ("script", "status", "problem"),
    [case[1:] for case in FAILING],
    ids=[case[0] for case in FAILING],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_all_clients_that_share_a_call_get_its_failure(
    cached: World, upstream: Upstream, script: Script, status: int, problem: str, streamed: bool
) -> None:
    """The first call alone pays for it."""
    upstream.on("/acme", script)
    with ThreadPoolExecutor(5) as pool:
        calls = ask(pool, cached, chat(stream=streamed), 5)
        for _ in range(9):
            cached.release()
        replies = [future.result(PATIENCE) for future in calls]
    assert {reply.status_code for reply in replies} == {status}
    assert len({reply.content for reply in replies}) == 1
    check_all_calls_ended(cached)
    first, rest = by_cache(cached.entries())
    assert (first.state, first.problem) == ("failed", problem)
    assert {(e.state, e.problem, e.attempts, e.cost) for e in rest} == {
        ("failed", problem, 0, Decimal(0))
    }
    assert len(upstream.requests) == first.attempts


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_all_clients_that_share_an_answer_get_an_error_when_it_breaks_off(
    cached: World, upstream: Upstream, streamed: bool
) -> None:
    """The gateway does not cache it either."""
    upstream.on("/acme", stream(*FRAMES[:3], None, end="cut"), stream())
    with ThreadPoolExecutor(3) as pool:
        (first,) = ask(pool, cached, STREAMED)
        rest = ask(pool, cached, chat(stream=streamed), 2)
        cached.release()
        broken = first.result(PATIENCE)
        assert b'"upstream_truncated"' in broken.content
        for other in rest:
            reply = other.result(PATIENCE)
            assert b'"upstream_truncated"' in reply.content
            assert reply.status_code == (200 if streamed else 502)
    check_all_calls_ended(cached)
    assert cached.ask(STREAMED).headers["x-tiergate-cache"] == "miss"


def test_an_answer_of_a_fallback_target_is_shared_but_not_cached(
    make: Make, upstream: Upstream
) -> None:
    world = make(caching(), spared)
    upstream.on("/acme", failing(500))
    upstream.on("/spare", held_back(whole()))
    with ThreadPoolExecutor(2) as pool:
        calls = ask(pool, world, chat(), 2)
        world.release()
        replies = [future.result(PATIENCE) for future in calls]
    assert [reply.headers["x-tiergate-model"] for reply in replies] == ["able-2"] * 2
    check_all_calls_ended(world)
    before = len(upstream.requests)
    world.release()
    assert world.ask(chat()).headers["x-tiergate-cache"] == "miss"
    assert len(upstream.requests) > before


ALONE: list[tuple[str, Body, dict[str, str]]] = [
    ("another text", chat("Say something else."), {}),
    ("sampled", chat(temperature=1), {}),
    ("off", chat(), {"x_tiergate_cache": "off"}),
    ("refresh", chat(), {"x_tiergate_cache": "refresh"}),
]


@pytest.mark.parametrize(
    ("body", "headers"), [case[1:] for case in ALONE], ids=[case[0] for case in ALONE]
)
def test_calls_that_differ_or_bypass_the_cache_are_not_coalesced(
    cached: World, upstream: Upstream, body: Body, headers: dict[str, str]
) -> None:
    upstream.on("/acme", held_back(whole()), whole())
    with ThreadPoolExecutor(1) as pool:
        (first,) = ask(pool, cached, chat())
        upstream.arrived()
        assert cached.ask(body, **headers).headers["x-tiergate-cache"] != "hit"
        cached.release()
        first.result(PATIENCE)
    assert len(upstream.requests) == 2
    check_all_calls_ended(cached)


def test_calls_that_are_not_cached_are_not_coalesced(make: Make, upstream: Upstream) -> None:
    """With the shipped cache, equal calls at the provider's own temperature are separate calls."""
    world = make(lambda value: value.update(cache={}))
    upstream.on("/acme", held_back(whole("one")), held_back(whole("two")))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(world.ask, chat()) for _ in range(2)]
        until(lambda: len(upstream.requests) == 2, "a second request")
        for _ in range(2):
            world.release()
        replies = [future.result(PATIENCE) for future in calls]
    contents = {reply.json()["choices"][0]["message"]["content"] for reply in replies}
    assert contents == {"one", "two"}
    assert {reply.headers["x-tiergate-cache"] for reply in replies} == {"off"}
    zero = chat(temperature=0)
    upstream.on("/acme", held_back(whole("zero")))
    with ThreadPoolExecutor(2) as pool:
        both = ask(pool, world, zero, 2)
        world.release()
        assert {f.result(PATIENCE).headers["x-tiergate-cache"] for f in both} == {"miss", "hit"}
    assert len(upstream.requests) == 3


def test_a_directly_relayed_stream_is_cached_and_can_be_joined(
    cached: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone stream goes from socket to socket; a call that joins gets it from the start."""
    passed: list[bytes] = []
    note_passed_chunk = Subscriber.note_passed_chunk

    def counted(subscriber: Subscriber[UpstreamResponse], data: bytes) -> None:
        passed.append(data)
        note_passed_chunk(subscriber, data)

    monkeypatch.setattr(Subscriber, "note_passed_chunk", counted)
    words = [f"word{at} " for at in range(6)]
    pieces = frames(words)
    slow = [part for piece in pieces for part in (piece, None)][:-1]
    upstream.on("/acme", stream(*slow, bill=(7, 3)))
    body = chat(stream=True, stream_options={"include_usage": True})
    with cached.leaving(body) as first:
        for word in words[:4]:
            cached.release()
            read_until(first, word.encode())
        alone = len(passed)
        with cached.leaving(body) as second:
            read_until(second, words[3].encode())
            for _ in slow:
                cached.release()
            read_until(second, b"[DONE]")
        read_until(first, b"[DONE]")
    assert alone > 1
    assert len(passed) == alone
    check_all_calls_ended(cached)
    hit = cached.ask(body)
    assert (hit.headers["x-tiergate-cache"], hit.content) == ("hit", b"".join(pieces))
    assert len(upstream.requests) == 1
