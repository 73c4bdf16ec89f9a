"""A call that has come whole with its head, and its answer: without the steps of one that has not.

There is nothing to wait for, so that neither an event nor a copy of its body is made, and it goes
to its door as it is, without the forms that any application would need.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.server.http1.request_task import RequestTask
from gateway.server.request_headers import RequestHeaders

UVICORN_SLOTS = (
    "access_log", "access_logger", "app", "app_state", "asgi_version", "client", "config",
    "connections", "cycle", "expect_100_continue", "flow", "headers", "limit_concurrency",
    "logger", "loop", "parser", "pipeline", "root_path", "scheme", "scope", "server",
    "server_state", "tasks", "timeout_keep_alive", "timeout_keep_alive_task", "transport",
    "url", "ws_protocol_class",
)  # fmt: skip
"""What uvicorn keeps of a connection: so much in a table lies all over a processor's caches."""


class HttpRoute(Protocol):
    """Where calls of one kind go."""

    def serve_exchange(self, exchange: "HttpExchange") -> Coroutine[Any, Any, None]:
        """Answer a call that has come whole. Never raises."""
        ...


class HttpExchange:
    """Does what uvicorn's does of a request without a body, by its functions."""

    __slots__ = (
        "chunked_encoding",
        "connection",
        "data",
        "disconnected",
        "endpoint",
        "expected_content_length",
        "headers",
        "keep_alive",
        "request_headers",
        "response_complete",
        "response_started",
        "task",
        "waiting_for_100_continue",
    )  # fmt: skip

    access_log = False
    body = bytearray()
    default_headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - uvicorn's, which adds to none
    message_event = asyncio.Event()
    """Nobody waits for it: what ends a call is told in another way (`Wire.visit`)."""
    more_body = False
    scope: Any = {"type": "http", "method": "POST", "http_version": "1.1"}  # noqa: RUF012
    """What writing an answer needs of it."""
    send: Any = RequestResponseCycle.send
    send_500_response: Any = RequestResponseCycle.send_500_response
    transport: Any = property(lambda self: self.connection.transport)
    flow: Any = property(lambda self: self.connection.flow)
    logger: Any = property(lambda self: self.connection.logger)
    on_response: Any = property(lambda self: self.connection.on_response_complete)

    def __init__(
        self,
        connection: HttpToolsProtocol,
        endpoint: HttpRoute,
        headers: Sequence[tuple[bytes, bytes]],
        data: bytes,
        keep_alive: bool,  # noqa: FBT001 - made for each call
        request_headers: RequestHeaders | None = None,
    ) -> None:
        self.connection: Any = connection
        self.endpoint = endpoint
        self.headers = headers
        self.data = data
        """Its body."""
        self.request_headers = request_headers
        """What its headers say, once that is known."""
        self.task: asyncio.Task[None] | RequestTask | None = None
        """What serves it, where that waits."""
        self.keep_alive = keep_alive
        self.chunked_encoding: bool | None = None
        self.expected_content_length = 0
        self.disconnected = self.response_complete = self.response_started = False
        self.waiting_for_100_continue = False

    async def fail(self, error: BaseException | None) -> None:
        """End it as uvicorn does where its door broke, or has not answered."""
        text = "Exception in ASGI application\n"
        if error is None:
            stage = "completing" if self.response_started else "starting"
            text = f"ASGI callable returned without {stage} response."
        self.logger.error(text, exc_info=error)
        if not self.response_started:
            await self.send_500_response()
        else:
            self.transport.close()
