"""An httpx transport of our own: HTTP/1.1 with the least work for each request and each chunk.

Honours httpx's `timeout` extension (connect, pool; write and read are the longest silence) and
`sni_hostname`. Redirects are not followed, nothing is decompressed, cookies are not kept, the
environment is not read. HTTP/2 and SOCKS are for a stock transport behind the same door.
"""

import asyncio
import math
import ssl
from collections.abc import Mapping
from typing import Any, Self

import httpx
import msgspec

from gateway.upstream.http1.connect import Connector, ProxySettings, context
from gateway.upstream.http1.connection import (
    DirectSink,
    ProviderConnection,
    StaleConnection,
    UnwrittenError,
)
from gateway.upstream.http1.pool import ConnectionPool
from gateway.upstream.http1.request import AT_ONCE, Fields, OutgoingRequest, prepare, upload, write
from gateway.upstream.http1.response import IncomingResponse
from gateway.upstream.write_batch import WriteBatch

_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_SHORTEST = 0.001
"""Seconds; none would mean for ever."""
_VERSION: Mapping[str, Any] = {"http_version": b"HTTP/1.1"}

type Origin = tuple[str, bytes, int | None, str | None]
"""Scheme, host, port, and the name that TLS asks for where it is not the host."""


class PreparedRoute(msgspec.Struct, frozen=True):
    """Where requests go that differ in nothing but their bodies: a pool, and their head."""

    pool: ConnectionPool
    head: bytes
    """Up to the number of bytes in the body."""


class ResponseBody:
    """The body of a response as it arrives; closing it gives the connection back."""

    __slots__ = ("_connection", "_pool", "_whole")

    def __init__(self, connection: ProviderConnection, pool: ConnectionPool) -> None:
        self._connection: ProviderConnection | None = connection
        self._pool = pool
        self._whole = False

    async def more(self, idle: float = math.inf, until: float | None = None) -> bytes:
        """The next bytes, empty at the end; waited for some seconds, and `until` a time at most.

        That is on the loop's clock.
        """
        connection = self._connection
        if connection is None:
            # The connection may serve somebody else by now.
            if self._whole:
                return b""
            raise httpx.ReadError("the answer was closed before its end")
        if until is not None:
            connection.until = until
        connection.idle = idle
        data = await connection.more()
        if not data:
            self._whole = True
        return data

    def over(self) -> bool:
        """Whether what was waited for came too late for all of it, and not just for one wait."""
        return self._connection is not None and self._connection.over()

    def pass_to(self, direct: DirectSink) -> None:
        """Have what comes while somebody waits for more go there, where that takes it."""
        if self._connection is not None:
            self._connection.direct = direct

    def rest(self) -> bytes | None:
        """All that has not been read, where it is here; None where it must be waited for."""
        data = self._connection.whole() if self._connection is not None else None
        self._whole = self._whole or data is not None
        return data

    def end(self, most: int) -> bytes | None:
        """As `rest`, of at most so many bytes, and gives the connection back."""
        connection = self._connection
        data = connection.whole(most) if connection is not None else None
        if data is not None:
            self._whole = True
            self.let_go()
        return data

    def let_go(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection)


class _Stream(ResponseBody, httpx.AsyncByteStream):
    """The same as httpx has it."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.more()
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        self.let_go()


class Http1Transport(httpx.AsyncBaseTransport):
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
        outbox: WriteBatch | None = None,
    ) -> None:
        """Hold at most `limit` connections to an origin, `most_idle` idle for `keep` seconds.

        What `post` sends goes out by `outbox`, where there is one.
        """
        self._tls = tls
        self._proxy = ProxySettings(proxy, proxy_tls) if proxy else None
        self._limit = limit
        self._most_idle = most_idle
        self._keep = keep
        self._outbox = outbox
        self._pools: dict[Origin, ConnectionPool] = {}

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
        reading = await _exchange(
            connection,
            pool,
            message,
            bodiless=request.method == "HEAD",
            silence=times.get("read") or 0.0,
            write=times.get("write") or 0.0,
        )
        return httpx.Response(
            reading.status,
            headers=reading.headers,
            stream=_Stream(connection, pool),
            extensions=dict(_VERSION),
        )

    def route(self, url: httpx.URL, fields: Fields) -> PreparedRoute:
        """Where POST requests with these headers go. Raises httpx errors."""
        proxy = self._proxy if url.scheme == "http" else None
        origin = (url.scheme, url.raw_host, url.port, None)
        pool = self._pools.get(origin) or self._open(origin)
        return PreparedRoute(
            pool, prepare(url, fields, proxy.header if proxy is not None else None)
        )

    async def post(
        self,
        route: PreparedRoute,
        body: bytes,
        more: bytes,
        connect: float,
        wait: float,
        until: float,
    ) -> tuple[ProviderConnection, IncomingResponse]:
        """Send a body as `handle_async_request` does, without the objects between. Same errors.

        The connection is to be given back to the pool of the route, as a `ResponseBody` does.

        `more` is further header lines, as `lines` gives them. A free connection is waited for
        `wait` seconds, a new one `connect`, and the head of the answer, as all of that, `until`
        then, on the loop's clock. Raises TimeoutError where a large body has not been sent by then.
        """
        pool = route.pool
        connection = None
        if len(body) > AT_ONCE or (connection := pool.find()) is None:
            self._write_rows()  # now: what goes by the outbox at once waits for nothing else
            connection = pool.find()
            if connection is None:
                left = max(until - asyncio.get_running_loop().time(), _SHORTEST)
                connection = await pool.take(connect=min(connect, left), wait=min(wait, left))
        connection.until = until
        if len(body) > AT_ONCE:
            head = b"%b%d%b\r\n\r\n" % (route.head, len(body), more)
            message = OutgoingRequest(head, httpx.ByteStream(body), len(body))
            async with asyncio.timeout_at(until):
                reading = await _exchange(connection, pool, message)
            return connection, reading
        try:  # as `_exchange` does, with one await less
            connection.ask(b"%b%d%b\r\n\r\n%b" % (route.head, len(body), more, body), self._outbox)
            reading = await connection.head()
        except BaseException as error:
            if isinstance(error, StaleConnection):
                pool.doubt()
            connection.abort()
            pool.give(connection)
            raise
        return connection, reading

    def _write_rows(self) -> None:
        """Have the row of a request written now. Raises UnwrittenError where it is not."""
        if self._outbox is not None and not self._outbox.flush():
            raise UnwrittenError("its row was not written")

    def pools(self) -> list[ConnectionPool]:
        """The pools there are: their counts, for those who watch."""
        return list(self._pools.values())

    async def aclose(self) -> None:
        """Close what is idle at once; what is in use finishes first."""
        for pool in self._pools.values():
            pool.close()

    def _open(self, origin: Origin) -> ConnectionPool:
        scheme, raw_host, port, sni = origin
        host = raw_host.decode("ascii")
        usual = _PORTS.get(scheme)
        if usual is None or not host:
            raise httpx.UnsupportedProtocol(f"the address {scheme}:// cannot be called")
        if scheme == "https" and self._tls is None:
            self._tls = context()
        tls = self._tls if scheme == "https" else None
        pool = ConnectionPool(
            asyncio.get_running_loop(),
            Connector(host, port or usual, tls, sni, self._proxy),
            limit=self._limit,
            most_idle=self._most_idle,
            keep=self._keep,
        )
        self._pools[origin] = pool
        return pool


async def _exchange(
    connection: ProviderConnection,
    pool: ConnectionPool,
    message: OutgoingRequest,
    *,
    bodiless: bool = False,
    silence: float = 0.0,
    write: float = 0.0,
) -> IncomingResponse:
    """Send a request and wait for the head of its answer."""
    try:
        connection.begin(
            message.first, bodiless=bodiless, silence=silence, more=message.rest is not None
        )
        if message.rest is not None:
            await upload(connection, message, message.rest, write)
        return await connection.head()
    except BaseException:
        connection.abort()
        pool.give(connection)
        raise
