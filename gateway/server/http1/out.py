"""Where a stream's client is written to by what does not pass the task that serves it.

It does what uvicorn does of a message with a piece of a body, without the message.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.server.keepalive import Keepalive


class ResponseWriter:
    """The client of one stream, whose head is written and says that it comes in chunks."""

    __slots__ = ("_beat", "_cycle", "_flow", "_time", "_transport")

    def __init__(
        self, cycle: RequestResponseCycle, transport: asyncio.Transport, beat: Keepalive
    ) -> None:
        """`transport` is the client's own, before which nothing waits."""
        self._cycle = cycle
        self._flow = cycle.flow
        self._transport = transport
        self._beat = beat
        self._time = asyncio.get_running_loop().time

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        """Write a piece; False where nothing may be written now.

        `chunk` is the same as a chunk, where it came as one.
        """
        transport = self._transport
        if self._flow.write_paused or self._cycle.disconnected or transport.is_closing():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if chunk is None else chunk)
        self._beat.last = self._time()
        return True
