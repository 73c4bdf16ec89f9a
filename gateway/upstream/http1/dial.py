"""Connecting: addresses raced as RFC 8305 says, TLS, and proxies (plain, CONNECT, https).

A failed attempt says what failed: ConnectError where nothing was sent to the provider.
"""

import asyncio
import base64
import contextlib
import itertools
import socket
import ssl
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import httpx

from gateway.upstream.http1.connection import Connection, Loop, keep_alive

_HEAD_START = 0.25
"""Seconds that one address has before the next is tried beside it (RFC 8305, section 5)."""
_MOST_ANSWER = 16_384

type Address = tuple[int, tuple[Any, ...]]


class Proxy:
    """A proxy to go through."""

    def __init__(self, url: str) -> None:
        """Take its URL: http:// or https://, with user and password where it wants them."""
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https"):
            raise ValueError("a proxy's URL starts with http:// or https://")
        self.encrypted = parsed.scheme == "https"
        self.host = parsed.host
        self.port = parsed.port or (443 if self.encrypted else 80)
        user, password = unquote(parsed.username), unquote(parsed.password)
        secret = base64.b64encode(f"{user}:{password}".encode())
        self.header = b"proxy-authorization: Basic " + secret + b"\r\n" if user else b""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


class Dial:
    """Makes connections to one origin."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, proxy: Proxy | None
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._proxy = proxy

    async def __call__(self, loop: Loop, sni: str | None) -> Connection:
        """A connection that is ready for a request. Raises httpx.ConnectError, httpx.ProxyError."""
        connection = Connection(loop)
        proxy = self._proxy
        try:
            if proxy is None:
                sock = await _connect(loop, self._host, self._port)
                await _attach(loop, connection, sock, self._tls, sni or self._host)
            elif self._tls is None:
                sock = await _connect(loop, proxy.host, proxy.port)
                tls = _default() if proxy.encrypted else None
                await _attach(loop, connection, sock, tls, proxy.host)
            else:
                await self._tunnel(loop, connection, proxy, self._tls, sni or self._host)
        except ssl.SSLError as error:
            connection.abort()
            reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
            raise httpx.ConnectError(f"TLS: {reason}") from error
        except OSError as error:
            connection.abort()
            raise httpx.ConnectError(error.strerror or type(error).__name__) from error
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _tunnel(
        self, loop: Loop, connection: Connection, proxy: Proxy, tls: ssl.SSLContext, name: str
    ) -> None:
        """A TLS connection through a proxy's CONNECT."""
        sock = await _connect(loop, proxy.host, proxy.port)
        outer = _Tunnel(loop)
        await _attach(loop, outer, sock, _default() if proxy.encrypted else None, proxy.host)
        host = f"[{self._host}]" if ":" in self._host else self._host
        place = f"{host}:{self._port}".encode("ascii")
        ask = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (place, place, proxy.header)
        try:
            await outer.ask(ask)
            made = await loop.start_tls(outer.transport(), connection, tls, server_hostname=name)
        except BaseException:
            outer.transport().abort()
            raise
        if made is None:
            raise httpx.ConnectError("TLS: closed")
        connection.connection_made(made)


class _Tunnel(asyncio.Protocol):
    """The conversation with a proxy before the tunnel is there."""

    def __init__(self, loop: Loop) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._heard = b""

    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise httpx.ProxyError("the proxy closed the connection")
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._answer.done():
            if b"\r\n\r\n" in self._heard:
                self._answer.set_result(self._heard)
            elif len(self._heard) > _MOST_ANSWER:
                self._answer.set_exception(httpx.ProxyError("the proxy's answer is too long"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        self._transport = None
        if not self._answer.done():
            self._answer.set_exception(httpx.ProxyError("the proxy closed the connection"))

    async def ask(self, request: bytes) -> None:
        """Ask for the tunnel. Raises httpx.ProxyError where it is refused."""
        self.transport().write(request)
        answer = await self._answer
        head, _, rest = answer.partition(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0]
        words = line.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] != b"200":
            status = words[1].decode("latin-1") if len(words) > 1 else "?"
            raise httpx.ProxyError(f"the proxy refused the tunnel with status {status[:3]}")
        if rest:
            raise httpx.ProxyError("the proxy sent bytes before the tunnel was used")


async def _attach(
    loop: Loop,
    protocol: asyncio.Protocol,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
    name: str,
) -> None:
    try:
        await loop.create_connection(
            lambda: protocol, sock=sock, ssl=tls, server_hostname=name if tls is not None else None
        )
    except BaseException:
        sock.close()
        raise


async def _connect(loop: Loop, host: str, port: int) -> socket.socket:
    """A connected socket: the first of the host's addresses that answers."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = _alternating((family, place) for family, _, _, _, place in found)
    if not addresses:
        raise OSError(f"{host} has no address")
    if len(addresses) == 1:
        return await _one(loop, addresses[0])
    return await _race(loop, addresses)


def _alternating(addresses: Iterable[Address]) -> list[Address]:
    """Addresses with their families taking turns, in the order the resolver gave them."""
    groups: dict[int, list[Address]] = {}
    for address in addresses:
        groups.setdefault(address[0], []).append(address)
    turns = itertools.zip_longest(*groups.values())
    return [address for turn in turns for address in turn if address is not None]


async def _race(loop: Loop, addresses: list[Address]) -> socket.socket:
    tasks: set[asyncio.Task[socket.socket]] = set()
    waiting = list(addresses)
    error: BaseException = OSError("no address")
    try:
        while waiting or tasks:
            if waiting:
                tasks.add(loop.create_task(_one(loop, waiting.pop(0))))
            limit = _HEAD_START if waiting else None
            done, tasks = await asyncio.wait(
                tasks, timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                failed = task.exception()
                if failed is None:
                    return task.result()
                error = failed
        raise error
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_discard)


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that lost the race and yet connected."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _one(loop: Loop, address: Address) -> socket.socket:
    family, place = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - takes no name
        keep_alive(sock)
        await loop.sock_connect(sock, place)
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return sock


def _default() -> ssl.SSLContext:
    return ssl.create_default_context()
