"""A fake of asyncio's transport: the test feeds the connection by hand, and closing is immediate."""

import asyncio
import socket
from collections.abc import Awaitable, Buffer, Callable
from typing import Any


class ProviderLine(asyncio.Transport):
    """A connected transport; `sock` if the code under test may check for unread bytes."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__({} if sock is None else {"socket": sock})
        self.closed = False
        self.sent = b""

    def write(self, data: Buffer) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Do nothing: the test sends nothing on its own."""

    resume_reading = pause_reading


def run_limited(task: Callable[[], Awaitable[Any]]) -> Any:
    """Run one task in a loop of its own, for five seconds at most."""

    async def limited() -> Any:
        async with asyncio.timeout(5):
            return await task()

    with asyncio.Runner() as runner:
        return runner.run(limited())
