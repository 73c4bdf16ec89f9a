"""Every transport passes an answer on unchanged or refuses it; none repairs one."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import httpx
import pytest

from tests.contract.client import ask, opened, whole
from tests.contract.conftest import Make
from tests.contract.server import CHUNKED, OK, RawPeer, RawServer, always, once

_HEAD = b"HTTP/1.1 200 OK\r\n"

BROKEN = {
    "length beside chunks": _HEAD
    + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": _HEAD + b"content-length: 2\r\ncontent-length: 5\r\n\r\nokxxx",
    "length with a sign": _HEAD + b"content-length: +2\r\n\r\nok",
    "length of a list": _HEAD + b"content-length: 2, 5\r\n\r\nok",
    "coding not asked for": _HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two codings": CHUNKED[:-2] + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunk size": CHUNKED + b"2\r\nok\r\nzz\r\nhello\r\n0\r\n\r\n",
    "no line end behind a chunk": CHUNKED + b"2\r\nokXX0\r\n\r\n",
    "200 kB of a header": _HEAD + b"x: " + b"a" * 200_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    "7000 headers": _HEAD
    + b"x: aaaaaaaaaaaaaaaaaaaaaa\r\n" * 7000
    + b"content-length: 2\r\n\r\nok",
    "status is no number": b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok",
    "status 99": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok",
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2 as text": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a header": _HEAD + b"x: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "a body shorter than its length": _HEAD + b"content-length: 10\r\n\r\nabc",
    "no last chunk": CHUNKED + b"3\r\nabc\r\n",
    "half a chunk": CHUNKED + b"9\r\nabc",
    "half a head": _HEAD + b"content-le",
    "nothing": b"",
    "protocol switch": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
}
ACCEPTED = {
    ("stock", "length beside chunks"): "h11 lets Transfer-Encoding win, as RFC 9112 6.3 allows",
    ("stock", "HTTP/2 as text"): "h11 reads any version",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_malformed_answer_is_an_error(make: Make, kind: str, name: str) -> None:
    async with RawServer(once(BROKEN[name])) as server:
        transport = make()
        if reason := ACCEPTED.get((kind, name)):
            response, _ = await whole(transport, ask(server.url))
            assert response.status_code, reason
        else:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await whole(transport, ask(server.url))


@pytest.mark.parametrize(
    "begun", [_HEAD, CHUNKED + b"2\r\nok\r\n0\r\n"], ids=["headers", "trailers"]
)
async def test_the_transport_stops_reading_endless_fields(make: Make, begun: bytes) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(begun)
        while True:
            await peer.send(b"x: " + b"a" * 20_000 + b"\r\n")

    async with RawServer(script) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await whole(make(), ask(server.url))


WHOLE = {
    "length": (OK, 200, b"ok"),
    "chunks": (CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", 200, b"ok"),
    "trailers are ignored": (CHUNKED + b"2\r\nok\r\n0\r\nx-t: 1\r\n\r\n", 200, b"ok"),
    "100 is skipped": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
    "103 is skipped": (b"HTTP/1.1 103 Early\r\nx-t: 1\r\n\r\n" * 3 + OK, 200, b"ok"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "to the end": (b"HTTP/1.1 200 OK\r\n\r\nabc", 200, b"abc"),
    "nothing to the end": (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", 200, b""),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nabc", 200, b"abc"),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    "an offered upgrade": (
        _HEAD + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    "a redirect is not followed": (
        b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 302, b""),
    "compressed bytes stay so": (
        _HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(gzip.compress(b"a" * 9_000_000, mtime=0))
        + gzip.compress(b"a" * 9_000_000, mtime=0), 200, gzip.compress(b"a" * 9_000_000, mtime=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
async def test_the_transport_returns_an_answer_unchanged(make: Make, name: str) -> None:
    answer, status, body = WHOLE[name]
    async with RawServer(once(answer)) as server:
        response, data = await whole(make(), ask(server.url, "POST", content=b"x"))
    assert (response.status_code, data) == (status, body)
    assert "x-t" not in response.headers


async def test_a_length_among_the_trailers_changes_nothing(make: Make, kind: str) -> None:
    """The parser llhttp refuses it, and h11 ignores it. Both are safe."""
    async with RawServer(once(CHUNKED + b"2\r\nok\r\n0\r\ncontent-length: 99\r\n\r\n")) as server:
        if kind == "http1":
            with pytest.raises(httpx.RemoteProtocolError):
                await whole(make(), ask(server.url))
        else:
            assert (await whole(make(), ask(server.url)))[1] == b"ok"


async def test_an_answer_to_head_has_no_body(make: Make) -> None:
    async with RawServer(always(_HEAD + b"content-length: 2\r\n\r\n")) as server:
        transport = make()
        for _ in range(2):
            response, body = await whole(transport, ask(server.url, "HEAD"))
            assert (response.status_code, body) == (200, b"")
            assert response.headers["content-length"] == "2"


async def test_headers_keep_their_order_and_repetitions(make: Make) -> None:
    answer = (
        _HEAD
        + b"X-MiXed: One\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nx-lat: caf\xe9\r\ncontent-length: 0\r\n\r\n"
    )
    async with RawServer(once(answer)) as server:
        response, _ = await whole(make(), ask(server.url))
    assert response.headers["x-mixed"] == "One"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers["x-lat"] == "caf\xe9"
    names = [name.lower() for name, _ in response.headers.raw]
    assert names == [b"x-mixed", b"set-cookie", b"set-cookie", b"x-lat", b"content-length"]


async def test_the_transport_sends_a_request_unchanged(make: Make) -> None:
    async with RawServer(always(OK)) as server:
        request = ask(
            f"{server.url}/a%20b?c=%2F", "POST", headers=[("X-Case", "One")], content=b"{}"
        )
        await whole(make(), request)
        sent = server.requests[0]
    assert sent.line == b"POST /a%20b?c=%2F HTTP/1.1"
    assert b"X-Case: One" in sent.fields
    assert sent.body == b"{}"
    assert len(sent.all(b"host")) == len(sent.all(b"content-length")) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-a", "a\r\nx-evil: 1"), ("x-a", "a\nx-evil: 1"), ("x-a", "a\rb"), ("x-a", "a\0b"),
     ("x-a\r\nx-evil", "1"), ("x-a: b\r\nx", "1"), ("x a", "1"), ("", "1")],
)  # fmt: skip
async def test_a_header_value_cannot_inject_another_header(
    make: Make, name: str, value: str
) -> None:
    async with RawServer(always(OK)) as server:
        with pytest.raises(httpx.LocalProtocolError):
            await whole(make(), ask(server.url, headers=[(name, value)]))
        assert server.requests == []


def _wrong(kind: str) -> tuple[type[Exception], ...]:
    """Return the errors of a request that cannot be sent: httpcore lets h11's own through."""
    return (httpx.LocalProtocolError, *([h11.LocalProtocolError] if kind == "stock" else []))


@pytest.mark.parametrize("length", ["1", "3", "x", "+2"])
async def test_a_body_of_another_length_than_its_header_is_an_error(
    make: Make, kind: str, length: str
) -> None:
    async with RawServer(always(OK)) as server:
        with pytest.raises(_wrong(kind)):
            await whole(
                make(), ask(server.url, "POST", headers=[("content-length", length)], content=b"ab")
            )


async def test_the_transport_sends_an_upload_in_pieces(make: Make) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"abc", b"", b"def", b"x" * 300_000):
            yield piece

    async with RawServer(always(OK)) as server:
        transport = make()
        await whole(transport, ask(server.url, "POST", content=pieces()))
        length_header = [("content-length", "300006")]
        await whole(transport, ask(server.url, "POST", headers=length_header, content=pieces()))
        assert [request.body for request in server.requests] == [b"abcdef" + b"x" * 300_000] * 2
        assert server.requests[0].all(b"transfer-encoding") == [b"chunked"]
        assert server.requests[1].all(b"transfer-encoding") == []


@pytest.mark.parametrize("length", ["5", "7"])
async def test_an_upload_of_another_length_than_its_header_is_an_error(
    make: Make, kind: str, length: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"

    async with RawServer(always(OK)) as server:
        request = ask(server.url, "POST", headers=[("content-length", length)], content=pieces())
        with pytest.raises(_wrong(kind)):
            await whole(make(), request)
        await server.empty.wait()


async def test_an_upload_that_fails_closes_the_connection(make: Make) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        raise OSError("the client's disk")

    async with RawServer(always(OK)) as server:
        with pytest.raises(OSError, match="the client's disk"):
            await whole(make(), ask(server.url, "POST", content=pieces()))
        await server.empty.wait()


async def test_a_request_of_8_mb_arrives_whole(make: Make) -> None:
    async with RawServer(always(OK)) as server:
        await whole(make(), ask(server.url, "POST", content=b"x" * 8_000_000))
        assert len(server.requests[0].body) == 8_000_000


async def test_an_early_refusal_arrives_during_an_upload_of_8_mb(make: Make) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await peer.left()

    async with RawServer(script) as server:
        transport = make()
        for _ in range(2):
            request = ask(server.url, "POST", content=b"x" * 8_000_000, write=1.0)
            response, body = await whole(transport, request)
            assert (response.status_code, body) == (413, b"big")
        assert server.opened == 2, "a connection with half a request on it is not used again"


async def test_the_transport_delivers_each_chunk_at_once(make: Make) -> None:
    """The server sends the next chunk only after the client has read the last."""
    read = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for number in range(5):
            await peer.chunk(b"data: %d\n\n" % number)
            await read.wait()
            read.clear()
        await peer.send(b"0\r\n\r\n")

    async with RawServer(script) as server, asyncio.timeout(60):
        stream, body = await opened(make(), ask(server.url))
        chunks = []
        async for data in stream:
            chunks.append(data)
            read.set()
        await body.aclose()
    assert chunks == [b"data: %d\n\n" % number for number in range(5)]


def _resident() -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text("ascii"))
    assert match is not None
    return int(match[1]) * 1024


async def test_a_slow_reader_slows_the_server_down(make: Make) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        nonlocal sent
        await peer.request()
        peer.writer.write(CHUNKED)
        block = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        while True:
            peer.writer.write(block)
            try:
                async with asyncio.timeout(0.2):
                    await peer.writer.drain()
            except TimeoutError:
                stuck.set()
                await peer.writer.drain()
            sent += 65_536

    async with RawServer(script) as server, asyncio.timeout(60):
        stream, body = await opened(make(), ask(server.url))
        received = len(await anext(stream))
        before = _resident()
        await stuck.wait()
        assert sent < 20_000_000, "what the kernel holds"
        assert _resident() - before < 20_000_000
        goal = sent + 10_000_000
        while received < goal:
            received += len(await anext(stream))
        await body.aclose()
