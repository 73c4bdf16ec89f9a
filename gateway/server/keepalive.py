"""Keep-alive frames: the gateway sends them while a stream has nothing to send.

Proxies and clients close silent connections, and some models think for minutes. The official SDKs
of a dialect ignore its keep-alive frame. Before the answer begins, the frame goes out after a head
that names no target, since another target may still take over. It has the rate limits of the call.
"""

import asyncio

import msgspec

from gateway.dialects import Dialect
from gateway.pipeline.response import STREAM_TYPE, Headers, make_id_headers
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.request_headers import Send

INTERVAL_SECONDS = 15.0
"""Seconds of silence before each keep-alive frame."""


class Keepalive(msgspec.Struct, eq=False):
    """The keep-alive frames of one call; none before `arm`."""

    _dialect: Dialect
    _call_id: str
    _send: Send
    _writer: ResponseWriter | None = None
    """The writer to which a relay may write pieces of the stream directly."""
    has_started: bool = False
    """True once the head of the reply is sent."""
    is_writing: bool = False
    """True while the answer itself is being written."""
    last_write_at: float = 0.0
    """The loop's time of the last write."""
    _headers: Headers = []
    _loop: asyncio.AbstractEventLoop = msgspec.field(default_factory=asyncio.get_running_loop)
    _task: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None

    def arm(self, headers: Headers) -> None:
        """Start: the answer to the call will be a stream; `headers` are known of it."""
        self._headers = headers
        self.last_write_at = self._loop.time()
        self._timer = self._loop.call_later(INTERVAL_SECONDS, self._on_timer)

    async def pause(self) -> None:
        """Send nothing while the answer is written; finish a frame that is being sent."""
        self.is_writing = True
        if self._task is not None:
            await self._task

    def resume(self) -> None:
        """Continue: the answer has nothing to write for now."""
        self.is_writing = False
        if self._timer is not None:
            self.last_write_at = self._loop.time()

    def stop(self) -> None:
        """Send no more frames."""
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
                *self._headers,
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        frame = self._dialect.keep_alive
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        self._task = None
        self.last_write_at = self._loop.time()
        if self._timer is not None:
            self._timer = self._loop.call_later(INTERVAL_SECONDS, self._on_timer)
