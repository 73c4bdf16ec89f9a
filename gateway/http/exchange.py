"""A call that has come whole with its head, and its answer: without the steps of one that has not.

To the application it is a request like any other. There is nothing to wait for, so that neither an
event nor a copy of its body is made, and of a scope it has what calls are read from.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

BODY = "tiergate.body"
"""In a scope: the whole body, which need not be received."""


class Exchange(RequestResponseCycle):
    """Does what uvicorn's does of a request without a body."""

    access_log = False
    body = bytearray()
    chunked_encoding: bool | None = None
    default_headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - uvicorn's, which adds to none
    disconnected = False
    expected_content_length = 0
    message_event = asyncio.Event()
    """Nobody waits for it: what ends a call is told in another way (`Wire.gone`)."""
    more_body = False
    response_complete = False
    response_started = False
    waiting_for_100_continue = False

    def __init__(
        self,
        wire: HttpToolsProtocol,
        door: Callable[[Any, Any, Any], Awaitable[None]],
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        keep_alive: bool,
    ) -> None:
        self.scope: Any = {
            "type": "http",
            "method": "POST",
            "http_version": "1.1",
            "query_string": b"",
            "headers": headers,
            "wire": wire,
            BODY: body,
        }
        self.door = door
        self.transport = wire.transport
        self.flow = wire.flow
        self.logger = wire.logger
        self.keep_alive = keep_alive
        self.on_response = wire.on_response_complete
