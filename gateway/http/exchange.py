"""A call that has come whole with its head, and its answer: without the steps of one that has not.

There is nothing to wait for, so that neither an event nor a copy of its body is made, and it goes
to its door as it is, without the forms that any application would need.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http.course import Course
from gateway.http.edge import Head


class Door(Protocol):
    """Where calls of one kind go."""

    def whole(self, exchange: "Exchange") -> Coroutine[Any, Any, None]:
        """Answer a call that has come whole. Never raises."""
        ...


class Exchange(RequestResponseCycle):
    """Does what uvicorn's does of a request without a body."""

    access_log = False
    body = bytearray()
    chunked_encoding: bool | None = None
    default_headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - uvicorn's, which adds to none
    disconnected = False
    expected_content_length = 0
    head: Head | None = None
    """What its headers say, once that is known."""
    message_event = asyncio.Event()
    """Nobody waits for it: what ends a call is told in another way (`Wire.visit`)."""
    more_body = False
    response_complete = False
    response_started = False
    scope: Any = {"type": "http", "method": "POST", "http_version": "1.1"}  # noqa: RUF012
    """What writing an answer needs of it."""
    task: asyncio.Task[None] | Course | None = None
    """What serves it, where that waits."""
    waiting_for_100_continue = False

    def __init__(
        self,
        wire: HttpToolsProtocol,
        door: Door,
        headers: Sequence[tuple[bytes, bytes]],
        data: bytes,
        *,
        keep_alive: bool,
    ) -> None:
        self.wire: Any = wire
        self.door = door
        self.headers = headers
        self.data = data
        """Its body."""
        self.transport = wire.transport
        self.flow = wire.flow
        self.logger = wire.logger
        self.keep_alive = keep_alive
        self.on_response = wire.on_response_complete

    async def fail(self, error: BaseException | None) -> None:
        """End it as uvicorn does where its door broke, or has not answered."""
        text = "Exception in ASGI application\n"
        if error is None:
            what = "completing" if self.response_started else "starting"
            text = f"ASGI callable returned without {what} response."
        self.logger.error(text, exc_info=error)
        if not self.response_started:
            await self.send_500_response()
        else:
            self.transport.close()
