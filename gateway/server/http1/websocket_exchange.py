"""A request that becomes a WebSocket, or is refused with an ordinary response."""

from collections.abc import Coroutine
from typing import Any, Protocol

from gateway.server.http1.exchange import ExchangeConnection, HttpExchange
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.request_headers import Scope

_MAX_EARLY_BYTES = 65_536
"""Bytes that a client may send before its handshake is answered; then the gateway reads no more."""


class ByteReceiver(Protocol):
    """The part that takes the bytes of a session."""

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        ...

    def feed_end(self) -> None:
        """Note that the client is gone."""
        ...


class WebSocketRoute(Protocol):
    """The endpoint that answers the handshake and serves the session."""

    def serve(self, exchange: "WebSocketExchange") -> Coroutine[Any, Any, None]:
        """Answer one request."""
        ...


class WebSocketExchange(HttpExchange):
    """One request for a WebSocket, and the session that it may begin."""

    __slots__ = ("_early_data", "_receiver", "_route", "scope")

    def __init__(
        self,
        connection: ExchangeConnection,
        writer: ResponseWriter,
        route: WebSocketRoute,
        scope: Scope,
    ) -> None:
        super().__init__(connection, writer, more_body=False)
        self._route = route
        self.scope = scope
        """The request in ASGI's form, as of one that offers no upgrade."""
        self._early_data = bytearray()
        self._receiver: ByteReceiver | None = None

    def _serve(self) -> Coroutine[Any, Any, None]:
        return self._route.serve(self)

    def feed(self, data: bytes) -> None:
        """Take bytes that follow the request."""
        if self._receiver is not None:
            self._receiver.feed(data)
        elif not self.writer.is_complete:
            self._early_data += data
            if len(self._early_data) > _MAX_EARLY_BYTES:
                self.connection.transport.pause_reading()

    def accept(self, response: bytes, receiver: ByteReceiver) -> None:
        """Answer the handshake: from now on `receiver` gets the bytes of the session."""
        self.connection.transport.write(response)
        self.writer.is_started = True
        self._receiver = receiver
        if self._early_data:
            receiver.feed(bytes(self._early_data))
            self._early_data.clear()
        if self.is_disconnected:
            receiver.feed_end()

    def finish(self) -> None:
        """Close the connection: the session has ended, and its close frame is written."""
        self.writer.is_complete = True
        self.writer.keep_alive = False
        self._receiver = None
        self.more_body = True  # the client may still be sending: it gets a moment to read the end
        self.connection.cut_answer()

    def disconnect(self) -> None:
        """Tell the session that the client is gone."""
        super().disconnect()
        if self._receiver is not None:
            self._receiver.feed_end()
