"""A request and its answer.

An endpoint answers an `EndpointExchange` directly, since the whole request has arrived. All other
requests go to the ASGI application (asgi_exchange.py).
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from gateway.pipeline.response import Response, encode_response
from gateway.server.http1.client_transport import ClientTransport
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.request_headers import Message, RequestHeaders
from gateway.server.shutdown import InFlightRequest

_LOGGER = logging.getLogger("uvicorn.error")  # the server logs its errors there too


class ExchangeConnection(Protocol):
    """The connection that an exchange belongs to."""

    transport: ClientTransport

    def end_answer(self) -> None:
        """Continue with the next request: the answer is written."""
        ...

    def cut_answer(self) -> None:
        """Close the connection: the answer cannot be completed."""
        ...

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        ...


class HttpRoute(Protocol):
    """An endpoint that answers requests that have arrived whole."""

    def serve_exchange(self, exchange: "EndpointExchange") -> Coroutine[Any, Any, None]:
        """Answer a request that has arrived whole."""
        ...


class HttpExchange(ABC):
    """One request of a client and the answer to it."""

    __slots__ = ("connection", "in_flight", "is_disconnected", "more_body", "writer")

    starts_at_once = False
    """True if the answer can start within the same iteration of the event loop."""

    def __init__(
        self, connection: ExchangeConnection, writer: ResponseWriter, *, more_body: bool
    ) -> None:
        self.connection = connection
        self.writer = writer
        self.more_body = more_body
        """True while more of the request's body is to come."""
        self.is_disconnected = False
        """True if the client no longer reads the answer."""
        self.in_flight: InFlightRequest | None = None
        """The call that serves the request; it ends when the client leaves."""

    async def run(self) -> None:
        """Get the request answered. Never raises."""
        writer = self.writer
        try:
            await self._serve()
        except BaseException as error:  # noqa: BLE001 - a server outlives its application's errors
            await self._fail("Exception in ASGI application\n", error)
        else:
            if not writer.is_complete and not self.is_disconnected:
                stage = "completing" if writer.is_started else "starting"
                await self._fail(f"ASGI callable returned without {stage} response.")

    @abstractmethod
    def _serve(self) -> Coroutine[Any, Any, None]:
        """Let the endpoint or the application answer the request."""

    async def _fail(self, text: str, error: BaseException | None = None) -> None:
        _LOGGER.error(text, exc_info=error)
        if self.writer.is_started:
            self.writer.flush_head()
            self.connection.cut_answer()
            return
        body = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def send(self, message: Message) -> None:
        """Write one ASGI message, after waiting until the client reads.

        Raises RuntimeError if the message is out of order.
        """
        transport, writer, kind = self.connection.transport, self.writer, message["type"]
        if transport.is_write_paused and not self.is_disconnected:
            await transport.drain()
        if self.is_disconnected:
            return
        if kind == "http.response.start" and not writer.is_started:
            writer.start(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and writer.is_started and not writer.is_complete:
            more_body = message.get("more_body", False)
            writer.write_body(message.get("body", b""), more_body=more_body)
            if not more_body:
                self._end()
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}.")

    def write_reply(self, reply: Response) -> bool:
        """Write a whole reply in one piece. Return False if it must be sent by messages.

        A reply to a client that still sends its body may close the connection, as its headers say.
        """
        writer = self.writer
        if self.more_body or writer.is_started or not writer.keep_alive:
            return False
        if self.connection.transport.is_write_paused:
            return False
        if (data := encode_response(reply)) is None:
            return False  # its headers need a check one by one
        if not self.is_disconnected:
            writer.write_whole(data)
            self._end()
        return True

    def disconnect(self) -> None:
        """Note that the client has left, and end the call that serves it."""
        if not self.writer.is_complete:
            self.is_disconnected = True
        self.end_in_flight()

    def serve_in(self, in_flight: InFlightRequest) -> None:
        """Set the call that serves the request; end it soon if the client has already left."""
        self.in_flight = in_flight
        if self.is_disconnected:
            asyncio.get_running_loop().call_soon(self.end_in_flight)

    def end_in_flight(self) -> None:
        """End the call that serves the request."""
        if self.in_flight is not None:
            self.in_flight.end("client_slow" if self.connection.transport.is_slow else "client")

    def _end(self) -> None:
        """Tell the connection that the answer is written."""
        self.connection.end_answer()


class EndpointExchange(HttpExchange):
    """A whole request for an endpoint: it never takes an ASGI form."""

    __slots__ = ("data", "endpoint", "headers", "request_headers")

    starts_at_once = True

    def __init__(
        self,
        connection: ExchangeConnection,
        writer: ResponseWriter,
        endpoint: HttpRoute,
        headers: Sequence[tuple[bytes, bytes]],
        data: bytes,
        request_headers: RequestHeaders | None = None,
    ) -> None:
        super().__init__(connection, writer, more_body=False)
        self.endpoint = endpoint
        self.headers = headers
        self.data = data
        """The body of the request."""
        self.request_headers = request_headers
        """The parsed headers; None until they are needed."""

    def _serve(self) -> Coroutine[Any, Any, None]:
        return self.endpoint.serve_exchange(self)
