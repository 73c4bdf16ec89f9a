"""An httpx transport of our own: HTTP/1.1 with the least work for each request and each chunk.

Honours httpx's `timeout` extension (connect, pool; write and read are the longest silence) and
`sni_hostname`. Redirects are not followed, nothing is decompressed, cookies are not kept, the
environment is not read. HTTP/2 and SOCKS are for a stock transport behind the same door.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Self

import httpx

from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.dial import Dial, Proxy, context
from gateway.upstream.http1.pool import Pool
from gateway.upstream.http1.writing import upload, write

_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_VERSION: Mapping[str, Any] = {"http_version": b"HTTP/1.1"}

type Origin = tuple[str, bytes, int | None, str | None]
"""Scheme, host, port, and the name that TLS asks for where it is not the host."""


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over kept connections. It belongs to the loop of its first request."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        proxy_tls: ssl.SSLContext | None = None,
        limit: int = 1000,
        most_idle: int = 1000,
        keep: float = 30.0,
    ) -> None:
        """Hold at most `limit` connections to an origin, `most_idle` idle for `keep` seconds."""
        self._tls = tls
        self._proxy = Proxy(proxy, proxy_tls) if proxy else None
        self._limit = limit
        self._most_idle = most_idle
        self._keep = keep
        self._pools: dict[Origin, Pool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the response is there. Raises httpx errors."""
        url, extensions = request.url, request.extensions
        scheme = url.scheme
        origin = (scheme, url.raw_host, url.port, extensions.get("sni_hostname"))
        pool = self._pools.get(origin) or self._open(origin)
        times: Mapping[str, float | None] = extensions.get("timeout") or {}
        proxy = self._proxy
        message = write(request, proxy.header if proxy is not None and scheme == "http" else None)
        connection = await pool.take(
            connect=times.get("connect") or 0.0, wait=times.get("pool") or 0.0
        )
        try:
            connection.begin(
                message.first,
                bodiless=request.method == "HEAD",
                silence=times.get("read") or 0.0,
                more=message.rest is not None,
            )
            if message.rest is not None:
                await upload(connection, message, message.rest, times.get("write") or 0.0)
            reading = await connection.head()
        except BaseException:
            connection.abort()
            pool.give(connection)
            raise
        return httpx.Response(
            reading.status,
            headers=reading.headers,
            stream=_Body(connection, pool),
            extensions=dict(_VERSION),
        )

    def pools(self) -> list[Pool]:
        """The pools there are: their counts, for those who watch."""
        return list(self._pools.values())

    async def aclose(self) -> None:
        """Close what is idle at once; what is in use finishes first."""
        for pool in self._pools.values():
            pool.close()

    def _open(self, origin: Origin) -> Pool:
        scheme, raw_host, port, sni = origin
        host = raw_host.decode("ascii")
        usual = _PORTS.get(scheme)
        if usual is None or not host:
            raise httpx.UnsupportedProtocol(f"the address {scheme}:// cannot be called")
        if scheme == "https" and self._tls is None:
            self._tls = context()
        tls = self._tls if scheme == "https" else None
        pool = Pool(
            asyncio.get_running_loop(),
            Dial(host, port or usual, tls, sni, self._proxy),
            limit=self._limit,
            most_idle=self._most_idle,
            keep=self._keep,
        )
        self._pools[origin] = pool
        return pool


class _Body(httpx.AsyncByteStream):
    """The body of a response as it arrives; closing it gives the connection back."""

    __slots__ = ("_connection", "_pool", "_whole")

    def __init__(self, connection: Connection, pool: Pool) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self._whole = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            # The connection may serve somebody else by now.
            if self._whole:
                raise StopAsyncIteration
            raise httpx.ReadError("the answer was closed before its end")
        data = await connection.more()
        if not data:
            self._whole = True
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection)
