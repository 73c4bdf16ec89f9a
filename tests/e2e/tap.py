"""What a client and the gateway say to each other on the wire, byte for byte."""

import asyncio
import io
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from tests.e2e.upstream import Request
from tests.e2e.world import Loop


@dataclass(frozen=True)
class Exchange:
    """One request as the client sent it, and its answer as the gateway sent it."""

    request: Request
    status: int
    """0 where the client left before there was a head."""
    headers: dict[str, str]
    """Of the answer, names in lower case."""
    body: bytes
    """Of the answer, without its chunks; what came of it, where it was cut."""
    whole: bool = True
    """True if the answer got to its end as HTTP has it."""


@dataclass
class _Line:
    """One connection."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    closed: bool = False
    read: list[Exchange] | None = None
    """The exchanges of a closed connection, once they were read."""


class Tap:
    """A port of its own that passes bytes to another and back, and keeps them."""

    def __init__(self, loop: Loop, port: int) -> None:
        self._loop, self._port = loop, port
        self._lines: list[_Line] = []
        self._tasks: set[asyncio.Task[None]] = set()
        loop.run(self._start())

    def exchanges(self) -> list[Exchange]:
        """All requests so far, connection by connection."""
        return [exchange for line in self._lines for exchange in self._read(line)]

    def _read(self, line: _Line) -> list[Exchange]:
        """Read what a connection carried; of a closed one, only once."""
        if line.read is not None:
            return line.read
        closed, found = line.closed, _exchanges(line)
        line.read = found if closed else None
        return found

    def answered(self) -> list[bytes]:
        """All bytes that clients were sent, by connection."""
        return [bytes(line.answered) for line in self._lines]

    def close(self) -> None:
        self._loop.run(self._stop())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = _Line()
        self._lines.append(line)
        there = writer
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self._port)
            ways = (_pass(reader, there, line.asked), _pass(answers, writer, line.answered))
            running = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for way in running:
                way.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        finally:
            line.closed = True
            self._tasks.discard(task)
            there.close()
            writer.close()


async def _pass(source: asyncio.StreamReader, to: asyncio.StreamWriter, kept: bytearray) -> None:
    """Pass bytes on until one side has ended."""
    try:
        while data := await source.read(65_536):
            kept += data
            to.write(data)
            await to.drain()
    except ConnectionError:
        pass


def _exchanges(line: _Line) -> list[Exchange]:
    requests, answers = bytes(line.asked), _Kept(bytes(line.answered))
    found = []
    while requests:
        head, _, requests = requests.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        named = [(name, value.strip()) for name, _, value in (it.partition(b":") for it in lines)]
        length = next((int(v) for name, v in named if name.lower() == b"content-length"), 0)
        request = Request(first, named, requests[:length])
        requests = requests[length:]
        answer = HTTPResponse(answers, method=request.method)  # type: ignore[arg-type]  # it reads alone
        try:
            answer.begin()
        except (HTTPException, ConnectionError):  # the client left before it was answered
            found.append(Exchange(request, 0, {}, b"", whole=False))
            continue
        headers = {name.lower(): value for name, value in answer.getheaders()}
        whole = True
        try:
            body = answer.read()
        except IncompleteRead as cut:
            body, whole = cut.partial, False
        found.append(Exchange(request, answer.status, headers, body, whole))
    return found


class _Kept(io.BytesIO):
    """What one connection answered, as http.client reads it: one answer after the other."""

    def makefile(self, *_: Any) -> "_Kept":
        return self

    def close(self) -> None:
        """Stays open: another answer follows."""
