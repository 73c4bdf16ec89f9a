"""The gateway's own httpx transport: HTTP/1.1 with the least work for each request and chunk.

It honours httpx's `timeout` extension (connect, pool; write and read are the longest silence) and
`sni_hostname`. It follows no redirect, decompresses nothing, keeps no cookies and does not read the
environment. A stock transport behind the same interface serves HTTP/2 and SOCKS.
"""

import asyncio
import math
import ssl
from collections.abc import Mapping
from typing import Any, Self

import httpx
import msgspec

from gateway.core.target import Timers
from gateway.upstream.http1.connect import Connector, ProxySettings, create_tls_context
from gateway.upstream.http1.connection import (
    DirectSink,
    ProviderConnection,
    StaleConnection,
    write_rows,
)
from gateway.upstream.http1.pool import ConnectionPool
from gateway.upstream.http1.request import (
    MAX_SINGLE_WRITE_BYTES,
    Fields,
    OutgoingRequest,
    encode_post_head,
    encode_request,
    upload_body,
)
from gateway.upstream.http1.response import IncomingResponse
from gateway.upstream.write_batch import WriteBatch

_DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_MIN_TIMEOUT = 0.001
"""Seconds; 0 would mean no limit."""
_VERSION_EXTENSION: Mapping[str, Any] = {"http_version": b"HTTP/1.1"}

type Origin = tuple[str, bytes, int | None, str | None]
"""Scheme, host, port, and the name that TLS asks for if it is not the host."""


class PreparedRoute(msgspec.Struct, frozen=True):
    """The pool and the head of requests that differ only in their bodies."""

    pool: ConnectionPool
    head_prefix: bytes
    """The head up to the number of bytes in the body."""


class ResponseBody:
    """The body of a response as it arrives; `release` gives the connection back."""

    __slots__ = ("_connection", "_is_complete", "_pool")

    def __init__(self, connection: ProviderConnection, pool: ConnectionPool) -> None:
        self._connection: ProviderConnection | None = connection
        self._pool = pool
        self._is_complete = False

    async def read_chunk(
        self, idle_timeout: float = math.inf, deadline: float | None = None
    ) -> bytes:
        """Return the next bytes, empty at the end. Raises httpx errors.

        Wait at most `idle_timeout` seconds, and at most until `deadline` on the loop's clock.
        """
        connection = self._connection
        if connection is None:
            # Another request may use the connection by now.
            if self._is_complete:
                return b""
            raise httpx.ReadError("the answer was closed before its end")
        if deadline is not None:
            connection.overall_deadline = deadline
        connection.idle_timeout = idle_timeout
        data = await connection.read_chunk()
        if not data:
            self._is_complete = True
        return data

    def is_past_deadline(self) -> bool:
        """Return True if the time for the whole answer is over, not just the time for one wait."""
        return self._connection is not None and self._connection.is_past_deadline()

    def pass_to(self, sink: DirectSink) -> None:
        """Give bytes that arrive while a caller waits to `sink`, if it takes them."""
        if self._connection is not None:
            self._connection.direct_sink = sink

    def take_buffered(self) -> bytes | None:
        """Return the rest of the body if all of it has arrived, else None."""
        data = self._connection.take_whole() if self._connection is not None else None
        self._is_complete = self._is_complete or data is not None
        return data

    def take_whole(self, max_bytes: int) -> bytes | None:
        """Return the rest as `take_buffered` does, up to `max_bytes`; release the connection."""
        connection = self._connection
        data = connection.take_whole(max_bytes) if connection is not None else None
        if data is not None:
            self._is_complete = True
            self.release()
        return data

    def release(self) -> None:
        """Give the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)


class _HttpxStream(ResponseBody, httpx.AsyncByteStream):
    """A response body with httpx's stream interface."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read_chunk()
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        self.release()


class Http1Transport(httpx.AsyncBaseTransport):
    """A transport that keeps its connections. It belongs to the loop of its first request."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        proxy_tls: ssl.SSLContext | None = None,
        limit: int = 1000,
        max_idle: int = 1000,
        keepalive_expiry: float = 30.0,
        write_batch: WriteBatch | None = None,
    ) -> None:
        """Allow `limit` connections to an origin, `max_idle` idle for `keepalive_expiry` seconds.

        `post` sends through `write_batch`, if there is one.
        """
        self._tls = tls
        self._proxy = ProxySettings(proxy, proxy_tls) if proxy else None
        self._limit = limit
        self._max_idle = max_idle
        self._keepalive_expiry = keepalive_expiry
        self._write_batch = write_batch
        self._pools: dict[Origin, ConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return when the head of the response has come. Raises httpx errors."""
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        pool, message = self._prepare(request)
        connection = await pool.acquire(
            connect_timeout=timeouts.get("connect") or 0.0, wait_timeout=timeouts.get("pool") or 0.0
        )
        response = await _send_and_wait(
            connection,
            pool,
            message,
            bodiless=request.method == "HEAD",
            silence_timeout=timeouts.get("read") or 0.0,
            write_timeout=timeouts.get("write") or 0.0,
        )
        return httpx.Response(
            response.status,
            headers=response.fields,
            stream=_HttpxStream(connection, pool),
            extensions=dict(_VERSION_EXTENSION),
        )

    def prepare_route(self, url: httpx.URL, fields: Fields) -> PreparedRoute:
        """Return the route of POST requests with these headers. Raises httpx errors."""
        proxy = self._proxy if url.scheme == "http" else None
        origin = (url.scheme, url.raw_host, url.port, None)
        pool = self._pools.get(origin) or self._open_pool(origin)
        return PreparedRoute(
            pool, encode_post_head(url, fields, proxy.auth_line if proxy is not None else None)
        )

    async def post(
        self,
        route: PreparedRoute,
        body: bytes,
        extra_lines: bytes,
        connect_timeout: float,
        wait_timeout: float,
        deadline: float,
    ) -> tuple[ProviderConnection, IncomingResponse]:
        """Send a body as `handle_async_request` does, without httpx's objects.

        Raises the same errors.

        The caller must give the connection back to the pool of the route, as a `ResponseBody` does.

        `extra_lines` holds further header lines, as `encode_header_lines` returns them. The call
        waits `wait_timeout` seconds for a free connection and `connect_timeout` seconds for a new
        one. All of that, and the head of the answer, must come before `deadline` on the loop's
        clock. Raises TimeoutError if a large body has not been sent by then.
        """
        pool = route.pool
        connection = None
        if len(body) > MAX_SINGLE_WRITE_BYTES or (connection := pool.acquire_idle()) is None:
            write_rows(self._write_batch)  # now: a large body does not go through the write batch
            connection = pool.acquire_idle()
            if connection is None:
                remaining_seconds = max(deadline - asyncio.get_running_loop().time(), _MIN_TIMEOUT)
                connection = await pool.acquire(
                    connect_timeout=min(connect_timeout, remaining_seconds),
                    wait_timeout=min(wait_timeout, remaining_seconds),
                )
        connection.overall_deadline = deadline
        if len(body) > MAX_SINGLE_WRITE_BYTES:
            head = b"%b%d%b\r\n\r\n" % (route.head_prefix, len(body), extra_lines)
            message = OutgoingRequest(head, httpx.ByteStream(body), len(body))
            async with asyncio.timeout_at(deadline):
                response = await _send_and_wait(connection, pool, message)
            return connection, response
        try:  # as `_send_and_wait` does, with one await less
            connection.send_request(
                b"%b%d%b\r\n\r\n%b" % (route.head_prefix, len(body), extra_lines, body),
                self._write_batch,
            )
            response = await connection.wait_for_head()
        except BaseException as error:
            if isinstance(error, StaleConnection):
                pool.check_every_connection()
            connection.abort()
            pool.release(connection)
            raise
        return connection, response

    async def forward(
        self, request: httpx.Request, timers: Timers, deadline: float
    ) -> tuple[ConnectionPool, ProviderConnection, IncomingResponse]:
        """Send a request of any method, whose body may arrive while it is sent.

        The caller must give the connection back to the pool, as a `ResponseBody` does. The provider
        must take something of the body every `timers.idle` seconds. The head of the answer must
        come within `timers.headers` after the whole body. All that ends at `deadline`, on the
        loop's clock. Raises TimeoutError then, and httpx errors.
        """
        async with asyncio.timeout_at(deadline):
            pool, message = self._prepare(request)
            write_rows(self._write_batch)
            connection = await pool.acquire(
                connect_timeout=timers.connect, wait_timeout=timers.pool
            )
            response = await _send_and_wait(
                connection,
                pool,
                message,
                bodiless=request.method == "HEAD",
                write_timeout=timers.idle,
                head_timeout=timers.headers,
            )
        return pool, connection, response

    def _prepare(self, request: httpx.Request) -> tuple[ConnectionPool, OutgoingRequest]:
        """Return the pool of a request, and the request as it is sent. Raises httpx errors."""
        url = request.url
        origin = (url.scheme, url.raw_host, url.port, request.extensions.get("sni_hostname"))
        pool = self._pools.get(origin) or self._open_pool(origin)
        proxy = self._proxy if url.scheme == "http" else None
        return pool, encode_request(request, proxy.auth_line if proxy is not None else None)

    def list_pools(self) -> list[ConnectionPool]:
        """Return all pools, so that others can read their counts."""
        return list(self._pools.values())

    async def aclose(self) -> None:
        """Close idle connections at once; those in use finish first."""
        for pool in self._pools.values():
            pool.close()

    def make_connector(self, url: httpx.URL) -> Connector:
        """Return a maker of connections outside the pools, for an address. Raises httpx errors."""
        return self._make_connector((url.scheme, url.raw_host, url.port, None))

    def _make_connector(self, origin: Origin) -> Connector:
        scheme, raw_host, port, sni = origin
        host = raw_host.decode("ascii")
        default_port = _DEFAULT_PORTS.get(scheme)
        if default_port is None or not host:
            raise httpx.UnsupportedProtocol(f"the address {scheme}:// cannot be called")
        if scheme == "https" and self._tls is None:
            self._tls = create_tls_context()
        tls = self._tls if scheme == "https" else None
        return Connector(host, port or default_port, tls, sni, self._proxy)

    def _open_pool(self, origin: Origin) -> ConnectionPool:
        pool = ConnectionPool(
            asyncio.get_running_loop(),
            self._make_connector(origin),
            limit=self._limit,
            max_idle=self._max_idle,
            keepalive_expiry=self._keepalive_expiry,
        )
        self._pools[origin] = pool
        return pool


async def _send_and_wait(
    connection: ProviderConnection,
    pool: ConnectionPool,
    message: OutgoingRequest,
    *,
    bodiless: bool = False,
    silence_timeout: float = 0.0,
    write_timeout: float = 0.0,
    head_timeout: float = math.inf,
) -> IncomingResponse:
    """Send a request and wait for the head of its answer. Raises httpx errors.

    The head may take `head_timeout` seconds after the whole request.
    """
    try:
        connection.begin(
            message.first_bytes,
            bodiless=bodiless,
            silence_timeout=silence_timeout,
            has_more=message.body_stream is not None,
        )
        if message.body_stream is not None:
            await upload_body(connection, message, message.body_stream, write_timeout)
        if head_timeout < math.inf:
            connection.overall_deadline = asyncio.get_running_loop().time() + head_timeout
        return await connection.wait_for_head()
    except BaseException:
        connection.abort()
        pool.release(connection)
        raise
