"""A line to a real server that a test can cut, delay, silence or garble, and mend again."""

import asyncio
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

type Mode = Literal["through", "silent", "nonsense", "late", "drip"]
"""`late` answers after `delay` seconds; `drip` waits so long before each byte."""


class RedisLine:
    """Forwards a loopback port, or a Unix socket, to the server in a URL."""

    def __init__(self, url: str, *, path: str = "", port: int = 0) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self._path = path
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.mode: Mode = "through"
        self.nonsense = b""
        self.delay = 0.0
        self.dialled = 0
        """Number of connections that were ever made."""
        self.idle = asyncio.Event()
        """Set while no connection is open."""
        self._open = 0

    @property
    def url(self) -> str:
        return f"unix://{self._path}" if self._path else f"redis://127.0.0.1:{self._port}/0"

    async def up(self) -> None:
        """Listen; after a cut, on the same port or path as before."""
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        try:
            back, onward = await asyncio.open_connection(*self._to)
        except OSError:  # the server is gone too
            writer.close()
            return
        self._open += 1
        self.idle.clear()
        self._writers |= {writer, onward}
        answers = asyncio.create_task(self._pump(back, writer))
        try:
            while data := await self._read(reader):
                if self.mode == "nonsense":
                    writer.write(self.nonsense)
                elif self.mode == "through":
                    onward.write(data)
        finally:
            self._open -= 1
            if not self._open:
                self.idle.set()
            for end in (writer, onward):
                end.close()
            await answers
            self._writers -= {writer, onward}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await self._read(reader):
            pieces = (
                [data] if self.mode != "drip" else [data[at : at + 1] for at in range(len(data))]
            )
            for piece in pieces:
                if self.mode in ("late", "drip"):
                    await asyncio.sleep(self.delay)
                if not writer.is_closing():
                    writer.write(piece)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        with suppress(OSError):
            return await reader.read(65536)
        return b""
