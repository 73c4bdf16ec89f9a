"""Signs of life: a stream that has nothing to say for a while still says that it is there.

Proxies and clients close what is silent, and some models think for minutes. Whatever is said here
is ignored by the official SDKs of a dialect; before the answer begins it goes out under a head that
names no target, since another may still take over.
"""

import asyncio

from gateway.dialects import Dialect
from gateway.pipeline.response import STREAM_TYPE, ids
from gateway.server.request_headers import Send

EVERY = 15.0
"""Seconds of silence before each sign."""


class Keepalive:
    """The signs of one call; none before `arm`."""

    __slots__ = (
        "_call", "_dialect", "_loop", "_send", "_task", "_timer", "begun", "busy", "last",
    )  # fmt: skip

    _loop: asyncio.AbstractEventLoop

    def __init__(self, dialect: Dialect, call: str, send: Send) -> None:
        self.begun = False
        """The head of the reply is sent."""
        self.busy = False
        """The answer itself is being written."""
        self.last = 0.0
        """When something was written last, on the loop's clock."""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dialect = dialect
        self._call = call
        self._send = send

    def arm(self) -> None:
        """Begin: the call is to be answered in a stream."""
        self._loop = asyncio.get_running_loop()
        self.last = self._loop.time()
        self._timer = self._loop.call_later(EVERY, self._due)

    async def pause(self) -> None:
        """Be silent while the answer is written; what is being said is said first."""
        self.busy = True
        if self._task is not None:
            await self._task

    def resume(self) -> None:
        """The answer has nothing to write for now."""
        self.busy = False
        if self._timer is not None:
            self.last = self._loop.time()

    def stop(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        left = EVERY if self.busy else self.last + EVERY - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._due)
        else:
            self._task = self._loop.create_task(self._say())

    async def _say(self) -> None:
        if not self.begun:
            self.begun = True
            head = [
                (b"content-type", STREAM_TYPE), *ids(self._call), (b"cache-control", b"no-cache"),
            ]  # fmt: skip
            await self._send({"type": "http.response.start", "status": 200, "headers": head})
        sign = self._dialect.keep_alive
        await self._send({"type": "http.response.body", "body": sign, "more_body": True})
        self._task = None
        self.last = self._loop.time()
        if self._timer is not None:
            self._timer = self._loop.call_later(EVERY, self._due)
