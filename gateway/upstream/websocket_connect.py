"""Connect to a provider's WebSocket, directly or through a proxy."""

import asyncio

import httpx
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from gateway.upstream.client import UpgradeRoute
from gateway.upstream.websocket_peer import QUIET_LOGGER, WebSocketPeer

_CLOSE_SECONDS = 1.0
"""Seconds in which a provider may end the connection after a close frame."""


class RefusedUpgradeError(Exception):
    """The provider answered the handshake with something else than a WebSocket."""

    def __init__(self, status: int, body: bytes, retry_after: str | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after
        """The header retry-after, as the provider wrote it."""


class ProviderSocket(asyncio.Protocol):
    """A connection to a provider: the loop's protocol, and the transport of its peer."""

    peer: WebSocketPeer
    """The provider's side of the session, set by `connect_websocket`."""
    subprotocol: str | None = None
    """The subprotocol that the provider chose."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_reading_paused = False
        self._has_peer = False
        self._early_data: list[bytes] = []
        self._early_arrival = asyncio.Event()
        self._lost = asyncio.Event()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport: the connection is up, and encrypted if it should be."""
        # uvloop's transports are no subclasses of asyncio's, but do the same.
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take bytes of the handshake or of the session."""
        if self._has_peer:
            self.peer.feed(data)
        else:
            self._early_data.append(data)
            self._early_arrival.set()

    def eof_received(self) -> bool:
        """Close the connection: the provider will send no more."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note that the provider is gone."""
        self._transport = None
        self._lost.set()
        self._writable.set()
        self._early_arrival.set()
        if self._has_peer:
            self.peer.feed_end()

    def pause_writing(self) -> None:
        """Let writers wait: the provider does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers continue."""
        self._writable.set()

    # the transport of the peer

    @property
    def is_write_paused(self) -> bool:
        """True while the provider does not read what is written."""
        return not self._writable.is_set()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the provider is gone."""
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the provider reads again or is gone."""
        await self._writable.wait()

    def pause_reading(self) -> None:
        """Stop reading for now."""
        if self._transport is not None and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None and self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    # the ends

    async def read_early(self) -> bytes:
        """Return bytes of the handshake, none if the provider is gone."""
        while not self._early_data and not self._lost.is_set():
            self._early_arrival.clear()
            await self._early_arrival.wait()
        return self._early_data.pop(0) if self._early_data else b""

    def begin(self, protocol: ClientProtocol) -> None:
        """Begin the session: the handshake has succeeded."""
        self.subprotocol = protocol.subprotocol
        self.peer = WebSocketPeer(protocol, self, asyncio.get_running_loop().time())
        self._has_peer = True
        for data in self._early_data:
            self.peer.feed(data)
        self._early_data.clear()
        if self._lost.is_set():
            self.peer.feed_end()

    async def close(self) -> None:
        """Wait a moment for the provider to close the connection, then close it."""
        self.resume_reading()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


async def connect_websocket(
    route: UpgradeRoute, subprotocols: list[str], *, max_message: int, timeout_seconds: float
) -> ProviderSocket:
    """Open a WebSocket to a provider.

    Raises httpx errors and TimeoutError if the provider cannot be reached, and RefusedUpgradeError
    if it answers and refuses.
    """
    socket = ProviderSocket()
    try:
        async with asyncio.timeout(timeout_seconds):
            await route.connector.attach(asyncio.get_running_loop(), socket)
            protocol = await _shake_hands(socket, route, subprotocols, max_message)
    except BaseException:
        socket.abort()
        raise
    socket.begin(protocol)
    return socket


async def _shake_hands(
    socket: ProviderSocket, route: UpgradeRoute, subprotocols: list[str], max_message: int
) -> ClientProtocol:
    url = route.url
    is_secure = url.scheme == "https"
    uri = WebSocketURI(
        is_secure,
        url.host,
        url.port or (443 if is_secure else 80),
        url.raw_path.partition(b"?")[0].decode("ascii"),
        url.query.decode("ascii"),
    )
    protocol = ClientProtocol(
        uri,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=max_message,
        logger=QUIET_LOGGER,
    )
    request = protocol.connect()
    for name, value in route.headers:
        request.headers[name] = value
    protocol.send_request(request)
    for data in protocol.data_to_send():
        socket.write(data)
    while protocol.handshake_exc is None and protocol.state is protocol.state.CONNECTING:
        data = await socket.read_early()
        if not data:
            protocol.receive_eof()
            break
        protocol.receive_data(data)
    if protocol.handshake_exc is not None:
        raise _explain_refusal(protocol.handshake_exc) from None
    return protocol


def _explain_refusal(error: Exception) -> Exception:
    if isinstance(error, InvalidStatus):
        response: Response = error.response
        return RefusedUpgradeError(
            response.status_code,
            bytes(response.body or b""),
            response.headers.get("retry-after"),
        )
    if isinstance(error, InvalidHandshake):
        return httpx.RemoteProtocolError("its answer to the handshake is not valid")
    return httpx.RemoteProtocolError("the answer was cut short")
