"""A request for the ASGI application, which can start before the whole body has arrived."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from gateway.server.http1.exchange import ExchangeConnection, HttpExchange
from gateway.server.http1.request_parser import RequestHead
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.request_headers import Message, Receive, Scope, Send

_MAX_BUFFERED_BYTES = 65_536
"""The number of buffered body bytes above which the gateway reads no more."""


class AsgiApp(Protocol):
    """The ASGI application, which answers all requests that no endpoint takes directly."""

    def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> Coroutine[Any, Any, None]:
        """Answer one request."""
        ...


class AsgiExchange(HttpExchange):
    """A request for the ASGI application, which takes the body as it arrives."""

    __slots__ = ("_body", "_expects_continue", "_message_event", "_scope", "app")

    def __init__(
        self,
        connection: ExchangeConnection,
        writer: ResponseWriter,
        app: AsgiApp,
        scope: Scope,
        *,
        expects_continue: bool,
    ) -> None:
        super().__init__(connection, writer, more_body=True)
        self.app = app
        self._scope = scope
        self._expects_continue = expects_continue
        self._body = bytearray()
        """Body bytes that arrived and that the application has not received yet."""
        self._message_event = asyncio.Event()
        """Set when there is something to receive."""

    async def _serve(self) -> None:
        # The exchange stands in a copy: in its own scope it would be a reference cycle.
        await self.app({**self._scope, "exchange": self}, self.receive, self.send)

    async def receive(self) -> Message:
        """Return the next ASGI message: a piece of the body, or that the client has left."""
        writer, connection = self.writer, self.connection
        if (
            self._expects_continue
            and not writer.is_started
            and not connection.transport.is_closing()
        ):
            self._expects_continue = False
            writer.write_continue()
        if not self.is_disconnected and not writer.is_complete:
            connection.resume_reading()
            await self._message_event.wait()
            self._message_event.clear()
        if self.is_disconnected or writer.is_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def add_body(self, data: bytes) -> None:
        """Take a piece of the body; ignore it after the answer."""
        if self.writer.is_complete:
            return
        self._body += data
        if len(self._body) > _MAX_BUFFERED_BYTES:
            self.connection.transport.pause_reading()
        self._message_event.set()

    def end_body(self) -> None:
        """Take the end of the body."""
        self.more_body = False
        self._message_event.set()

    def disconnect(self) -> None:
        """Tell the application, also if it waits for the body, that the client has left."""
        super().disconnect()
        self._message_event.set()

    def _end(self) -> None:
        self._message_event.set()
        super()._end()


def make_connection_scope(transport: asyncio.BaseTransport) -> Scope:
    """Return the part of the ASGI scope that all requests of a connection share."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "server": _get_address(transport, "sockname"),
        "client": _get_address(transport, "peername"),
        "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
        "root_path": "",
    }


def make_scope(connection_scope: Scope, head: RequestHead, state: dict[str, Any]) -> Scope:
    """Return the ASGI scope of a request. Raises ValueError if its target is no URL."""
    try:
        url = httptools.parse_url(head.url)
    except httptools.HttpParserInvalidURLError as error:
        raise ValueError("its target is no URL") from error
    return {
        **connection_scope,
        "http_version": head.version,
        "method": head.method.decode("ascii"),
        "path": unquote(url.path.decode("ascii")),
        "raw_path": url.path,
        "query_string": url.query or b"",
        "headers": head.headers,
        "state": state.copy(),
    }


def _get_address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int | None] | None:
    """Return an address in ASGI form: a host and a port, or the path of a socket."""
    address = transport.get_extra_info(name)
    if isinstance(address, str):
        return address, None
    return (address[0], address[1]) if isinstance(address, tuple) else None
