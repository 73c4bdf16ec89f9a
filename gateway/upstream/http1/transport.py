"""An httpx transport of our own: HTTP/1.1 with the least work for each request and each chunk.

Honours httpx's `timeout` extension (connect, pool, write; read is the longest silence) and
`sni_hostname`. Redirects are not followed, nothing is decompressed, cookies are not kept, the
environment is not read. HTTP/2 and SOCKS are for a stock transport behind the same door.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import certifi
import httpx

from gateway.upstream.http1.connection import Connection, Loop
from gateway.upstream.http1.dial import Dial, Proxy
from gateway.upstream.http1.pool import Pool

_AT_ONCE = 65_536
"""Bytes of a body that go out together with its head."""
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

type Origin = tuple[str, str, int | None]


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over kept connections."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        limit: int = 1000,
        most_idle: int = 1000,
        keep: float = 30.0,
    ) -> None:
        """Hold at most `limit` connections to an origin, idle ones for `keep` seconds."""
        self._tls = tls
        self._proxy = Proxy(proxy) if proxy else None
        self._limit = limit
        self._most_idle = most_idle
        self._keep = keep
        self._loop: Loop | None = None
        self._pools: dict[Origin, Pool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the response is there. Raises httpx errors."""
        url = request.url
        scheme = url.scheme
        pool = self._pools.get((scheme, url.host, url.port)) or self._open(url)
        extensions = request.extensions
        times: Mapping[str, Any] = extensions.get("timeout") or {}
        head = self._head(request)
        connection = await pool.take(
            connect=times.get("connect") or 0.0,
            wait=times.get("pool") or 0.0,
            sni=extensions.get("sni_hostname"),
        )
        try:
            await _send(connection, request, head, times)
            reading = await connection.head()
        except BaseException:
            connection.abort()
            pool.give(connection)
            raise
        return httpx.Response(
            reading.status,
            headers=reading.headers,
            stream=_Body(connection, pool),
            extensions={"http_version": b"HTTP/1.1"},
        )

    def pools(self) -> list[Pool]:
        """The pools there are: their counts, for those who watch."""
        return list(self._pools.values())

    async def aclose(self) -> None:
        """Close every connection that is idle, the others when they come back."""
        for pool in self._pools.values():
            await pool.close()

    def _open(self, url: httpx.URL) -> Pool:
        port = _PORTS.get(url.scheme)
        if port is None or not url.host:
            raise httpx.UnsupportedProtocol(f"the address {url.scheme}:// cannot be called")
        tls = self._context() if url.scheme == "https" else None
        dial = Dial(url.host, url.port or port, tls, self._proxy)
        loop = asyncio.get_running_loop()
        pool = Pool(loop, dial, limit=self._limit, most_idle=self._most_idle, keep=self._keep)
        self._pools[url.scheme, url.host, url.port] = pool
        return pool

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = context()
        return self._tls

    def _head(self, request: httpx.Request) -> bytes:
        url = request.url
        target = url.raw_path
        lines = []
        if self._proxy is not None and url.scheme == "http":
            target = b"http://" + url.netloc + target
            if self._proxy.header:
                lines.append(self._proxy.header)
        raw = request.headers.raw
        lines += [name + b": " + value + b"\r\n" for name, value in raw]
        fields = b"".join(lines)
        # One line end for each line that was meant: a value or name that holds one would make
        # another header of what a client sent.
        ends = {fields.count(b"\n"), fields.count(b"\r"), len(lines)}
        if len(ends) > 1 or b"\0" in fields:
            raise httpx.LocalProtocolError("a header holds a character that no header may hold")
        method = request.method.encode("ascii")
        start = b"%b %b HTTP/1.1\r\n" % (method, target)
        if start.count(b" ") != 2 or start.count(b"\n") != 1:
            raise httpx.LocalProtocolError("the method or the address is not valid")
        return b"%b%b\r\n" % (start, fields)


class _Body(httpx.AsyncByteStream):
    """The body of a response as it arrives; closing it gives the connection back."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, connection: Connection, pool: Pool) -> None:
        self._connection: Connection | None = connection
        self._pool = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            more = self._connection.more
            while data := await more():
                yield data

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection)


async def _send(
    connection: Connection, request: httpx.Request, head: bytes, times: Mapping[str, Any]
) -> None:
    bodiless = request.method == "HEAD"
    silence = times.get("read") or 0.0
    patience = times.get("write") or 0.0
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        data = b"".join(stream)
        if len(data) <= _AT_ONCE:
            connection.begin(head + data, bodiless=bodiless, silence=silence)
            return
        connection.begin(head, bodiless=bodiless, silence=silence)
        connection.write(data)
        await connection.drained(patience)
        return
    if not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("the body must be bytes or an async stream")
    chunked = b"transfer-encoding" in [name.lower() for name, _ in request.headers.raw]
    connection.begin(head, bodiless=bodiless, silence=silence)
    async for data in stream:
        if data:
            connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            await connection.drained(patience)
    if chunked:
        connection.write(b"0\r\n\r\n")


def context() -> ssl.SSLContext:
    """TLS as the machine trusts it; with certifi's roots where the machine has none."""
    made = ssl.create_default_context()
    if not made.cert_store_stats()["x509_ca"]:
        made.load_verify_locations(certifi.where())
    made.set_alpn_protocols(["http/1.1"])
    return made
