"""Helpers for the tests of fetched media: hosts that serve files, and names for them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.canonical_request import Media
from gateway.core.errors import ProblemError
from gateway.dialects import FetchedMedia
from gateway.upstream import media_fetch
from gateway.upstream.client import PublicWebClient
from gateway.upstream.media_fetch import AddressGuard, MediaBounds, MediaFetcher

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 20
PDF = b"%PDF-1.7\n" + b"page " * 20
TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"})
WORD = "messages.image"
type Answer = Callable[[bytes], bytes | None]


def ok(body: bytes = PNG, *more: str, type: str = "image/png", status: int = 200) -> bytes:
    head = [
        f"HTTP/1.1 {status} Said",
        f"content-length: {len(body)}",
        f"content-type: {type}",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def moved(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


class MediaHost:
    """A web host on loopback; it records requests and counts connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            response = self.answer(head)
            if response is not None:
                writer.write(response)
                await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.gone.set()
            writer.close()

    def paths(self) -> list[str]:
        return [head.split(b" ")[1].decode() for head in self.asked]


@asynccontextmanager
async def served(
    answer: Answer | bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[MediaHost, int]]:
    host = MediaHost(answer if callable(answer) else lambda _: answer)
    server = await asyncio.start_server(host, "127.0.0.1", 0, ssl=tls)
    try:
        yield host, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in host.writers:
            writer.close()
        await server.wait_closed()


class MediaNames:
    """A resolver: each name has one list of addresses for each lookup."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        assert port
        self.asked.append(host)
        answers = self.names.get(host)
        if not answers:
            raise OSError(-2, "Name or service not known: secret-resolver.internal")
        return answers.pop(0) if len(answers) > 1 else answers[0]


HERE = MediaNames(pics_example=[["127.0.0.1"]])


def fetch(
    port: int = 0,
    *,
    resolve: MediaNames = HERE,
    public: Callable[[media_fetch.Address], bool] = lambda _: True,
    allow: Iterable[str] | None = None,
    most: int = 10_000,
    timeout: float = 5.0,
    types: frozenset[str] = TYPES,
    web: PublicWebClient | None = None,
) -> MediaFetcher:
    """Make a fetcher for pics.example at a port of this machine; its guard is open by default."""
    hosts = (f"pics.example:{port}", f"*.pics.example:{port}") if allow is None else tuple(allow)
    bounds = MediaBounds(allowed_hosts=hosts, types=types, max_bytes=most, timeout=timeout)
    return MediaFetcher(bounds, AddressGuard(resolve=resolve, is_public=public), web)


async def get(
    fetcher: MediaFetcher,
    *urls: str,
    kind: Any = "image",
    had: dict[str, FetchedMedia] | None = None,
) -> dict[str, FetchedMedia]:
    links = {url: Media(kind=kind, url=url) for url in urls}
    return await fetcher.fetch_all(links, dict.fromkeys(urls, WORD), had or {})


async def refused(fetcher: MediaFetcher, *urls: str, kind: Any = "image") -> str:
    """Return the reason of a refusal, which is always a 400 that names the part."""
    with pytest.raises(ProblemError) as caught:
        await get(fetcher, *urls, kind=kind)
    problem = caught.value.problem
    assert (problem.kind, problem.http_status, problem.spent) == ("invalid_request", 400, "no")
    assert problem.param in (WORD, None)
    return problem.message
