"""What a connection needs of asyncio's transport: fed by hand, it closes at once."""

import asyncio
import socket
from collections.abc import Buffer


class Line(asyncio.Transport):
    """A connected transport; `sock` where somebody may ask whether anything has come."""

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
        """Nothing more would come."""

    resume_reading = pause_reading
