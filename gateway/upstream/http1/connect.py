"""Connect to one origin: TLS, and proxies (plain, CONNECT, https).

The type of an error says what failed: ConnectError and ProxyError mean that nothing was sent to the
provider.
"""

import asyncio
import base64
import os
import socket
import ssl
from urllib.parse import unquote

import certifi
import httpx

from gateway.upstream.http1.connection import Loop, ProviderConnection
from gateway.upstream.http1.happy_eyeballs import connect

_MAX_PROXY_ANSWER_BYTES = 16_384
"""Bytes that a proxy's answer may have."""


class ProxySettings:
    """The address, encryption and credential of a proxy."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        """Take the proxy's URL: http:// or https://, with user and password if it wants them.

        Raises ValueError for another scheme.
        """
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https"):
            raise ValueError("a proxy's URL starts with http:// or https://")
        self.host = parsed.raw_host.decode("ascii")
        self.port = parsed.port or (443 if parsed.scheme == "https" else 80)
        self.tls = (tls or create_tls_context()) if parsed.scheme == "https" else None
        user, password = unquote(parsed.username), unquote(parsed.password)
        secret = base64.b64encode(f"{user}:{password}".encode())
        self.auth_line = b"proxy-authorization: Basic " + secret + b"\r\n" if user else b""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


class Connector:
    """A maker of connections to one origin."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        sni: str | None,
        proxy: ProxySettings | None,
    ) -> None:
        """Encrypt unless `tls` is None.

        `sni` is the name that TLS asks for, if it is not the host.
        """
        self._host = host
        self._port = port
        self._tls = tls
        self._tls_name = sni or host
        self._proxy = proxy

    async def __call__(self, loop: Loop) -> ProviderConnection:
        """Return a connection that is ready for a request.

        Raises httpx.ConnectError, httpx.ProxyError.
        """
        connection = ProviderConnection(loop)
        await self.attach(loop, connection)
        return connection

    @property
    def has_plain_proxy(self) -> bool:
        """True if a proxy reads the requests: it tunnels only encrypted connections."""
        return self._proxy is not None and self._tls is None

    async def attach(self, loop: Loop, protocol: asyncio.Protocol) -> None:
        """Connect, and give the connection to a protocol.

        Raises httpx.ConnectError, httpx.ProxyError.
        """
        proxy = self._proxy
        try:
            if proxy is None:
                sock = await connect(loop, self._host, self._port)
                await _attach_socket(loop, protocol, sock, self._tls, self._tls_name)
            elif self._tls is None:
                sock = await connect(loop, proxy.host, proxy.port)
                await _attach_socket(loop, protocol, sock, proxy.tls, proxy.host)
            else:
                await self._open_tunnel(loop, protocol, proxy, self._tls)
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "failed"
            reason = reason.partition(",")[0]  # the host's name comes after the comma
            raise httpx.ConnectError(f"TLS: {reason}") from error
        except OSError as error:
            raise httpx.ConnectError(_describe_error(error)) from error
        except ValueError as error:  # the resolver or TLS cannot take the name
            raise httpx.ConnectError("the host's name is not valid") from error

    async def _open_tunnel(
        self, loop: Loop, protocol: asyncio.Protocol, proxy: ProxySettings, tls: ssl.SSLContext
    ) -> None:
        """Open a TLS connection through a proxy's CONNECT."""
        sock = await connect(loop, proxy.host, proxy.port)
        tunnel = _TunnelProtocol()
        await _attach_socket(loop, tunnel, sock, proxy.tls, proxy.host)
        host = f"[{self._host}]" if ":" in self._host else self._host
        authority = f"{host}:{self._port}".encode("ascii")
        try:
            proxy_transport = await tunnel.request_tunnel(
                b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n"
                % (authority, authority, proxy.auth_line)
            )
            tls_transport = await loop.start_tls(
                proxy_transport, protocol, tls, server_hostname=self._tls_name
            )
        except BaseException:
            tunnel.abort()
            raise
        if tls_transport is None:
            raise httpx.ConnectError("TLS: closed")
        protocol.connection_made(tls_transport)


def _describe_error(error: OSError) -> str:
    """Return the reason in the system's words: a loop's own words may name the address."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or type(error).__name__
    return os.strerror(error.errno)


class _TunnelProtocol(asyncio.Protocol):
    """The exchange with a proxy before the tunnel is open."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._is_closed = False
        self._buffer = b""
        self._change_event = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # as in ProviderConnection

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._change_event.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        self._is_closed = True
        self._change_event.set()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def request_tunnel(self, request: bytes) -> asyncio.Transport:
        """Ask for the tunnel; return the transport that leads through it.

        Raises httpx.ProxyError.
        """
        transport = self._transport
        if transport is None or self._is_closed:
            raise httpx.ProxyError("the proxy closed the connection")
        transport.write(request)
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_PROXY_ANSWER_BYTES:
                raise httpx.ProxyError("the proxy's answer is too long")
            if self._is_closed:
                raise httpx.ProxyError("the proxy closed the connection")
            self._change_event.clear()
            await self._change_event.wait()
        head, _, remainder = self._buffer.partition(b"\r\n\r\n")
        words = head.split(b"\r\n", 1)[0].split(b" ", 2)
        status = words[1] if len(words) > 1 and words[0].startswith(b"HTTP/1.") else b"?"
        if len(status) != len("200") or not status.startswith(b"2"):
            status_text = status[:3].decode("latin-1")
            raise httpx.ProxyError(f"the proxy refused the tunnel with status {status_text}")
        if remainder:
            raise httpx.ProxyError("the proxy sent bytes before the tunnel was used")
        return transport


async def _attach_socket(
    loop: Loop,
    protocol: asyncio.Protocol,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
    name: str,
) -> None:
    """Hand a connected socket to the loop, and encrypt it unless `tls` is None."""
    try:
        await loop.create_connection(
            lambda: protocol, sock=sock, ssl=tls, server_hostname=name if tls is not None else None
        )
    except BaseException:
        sock.close()
        raise


def create_tls_context() -> ssl.SSLContext:
    """Return a TLS context with the machine's roots, or certifi's if the machine has none."""
    tls_context = ssl.create_default_context()
    if not tls_context.cert_store_stats()["x509_ca"]:
        tls_context.load_verify_locations(certifi.where())
    tls_context.set_alpn_protocols(["http/1.1"])
    return tls_context
