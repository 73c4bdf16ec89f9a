"""Signs of life: a stream that has nothing to say for a while still says that it is there.

Proxies and clients close what is silent, and some models think for minutes. Whatever is said here
is ignored by the official SDKs of a dialect; before the answer begins it goes out under a head that
names no target, since another may still take over.
"""

import asyncio

from gateway.dialects import Dialect
from gateway.pipeline.response import STREAM_TYPE, make_id_headers
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.request_headers import Send

INTERVAL_SECONDS = 15.0
"""Seconds of silence before each sign."""


class Keepalive:
    """The signs of one call; none before `arm`."""

    __slots__ = (
        "_call_id", "_dialect", "_loop", "_send", "_task", "_timer", "_writer",
        "has_started", "is_writing", "last_write_at",
    )  # fmt: skip

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self, dialect: Dialect, call_id: str, send: Send, writer: ResponseWriter | None = None
    ) -> None:
        """`writer` is where pieces of the stream are written directly, if there is one."""
        self.has_started = False
        """The head of the reply is sent."""
        self.is_writing = False
        """The answer itself is being written."""
        self.last_write_at = 0.0
        """When something was sent last, on the loop's clock."""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dialect = dialect
        self._call_id = call_id
        self._send = send
        self._writer = writer

    def arm(self) -> None:
        """Begin: the call is to be answered in a stream."""
        self._loop = asyncio.get_running_loop()
        self.last_write_at = self._loop.time()
        self._timer = self._loop.call_later(INTERVAL_SECONDS, self._on_timer)

    async def pause(self) -> None:
        """Be silent while the answer is written; what is being said is said first."""
        self.is_writing = True
        if self._task is not None:
            await self._task

    def resume(self) -> None:
        """The answer has nothing to write for now."""
        self.is_writing = False
        if self._timer is not None:
            self.last_write_at = self._loop.time()

    def stop(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        last_write_at = self.last_write_at
        if self._writer is not None:
            last_write_at = max(last_write_at, self._writer.last_piece_at)
        remaining_seconds = (
            INTERVAL_SECONDS
            if self.is_writing
            else last_write_at + INTERVAL_SECONDS - self._loop.time()
        )
        if remaining_seconds > 0:
            self._timer = self._loop.call_later(remaining_seconds, self._on_timer)
        else:
            self._task = self._loop.create_task(self._send_keepalive())

    async def _send_keepalive(self) -> None:
        if not self.has_started:
            self.has_started = True
            headers = [
                (b"content-type", STREAM_TYPE),
                *make_id_headers(self._call_id),
                (b"cache-control", b"no-cache"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        frame = self._dialect.keep_alive
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        self._task = None
        self.last_write_at = self._loop.time()
        if self._timer is not None:
            self._timer = self._loop.call_later(INTERVAL_SECONDS, self._on_timer)
