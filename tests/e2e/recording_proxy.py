"""The bytes between a client and the gateway, recorded in both directions."""

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
    """0 if the client left before a head came."""
    headers: dict[str, str]
    """The headers of the answer, with names in lower case."""
    body: bytes
    """The body of the answer, without chunk framing; the part that came, if it was cut."""
    whole: bool = True
    """True if the answer got to its end by the rules of HTTP."""


@dataclass
class _ProxyLine:
    """One connection."""

    requested: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    closed: bool = False
    read: list[Exchange] | None = None
    """The exchanges of a closed connection, once they were parsed."""


class Tap:
    """A port that passes bytes to another port and back, and keeps them."""

    def __init__(self, loop: Loop, port: int) -> None:
        self._loop, self._port = loop, port
        self._lines: list[_ProxyLine] = []
        self._tasks: set[asyncio.Task[None]] = set()
        loop.run(self._start())

    def exchanges(self) -> list[Exchange]:
        """Return all exchanges so far, connection by connection."""
        return [exchange for line in self._lines for exchange in self._read(line)]

    def _read(self, line: _ProxyLine) -> list[Exchange]:
        """Parse the exchanges of a connection; of a closed one, only once."""
        if line.read is not None:
            return line.read
        closed, exchanges = line.closed, _exchanges(line)
        line.read = exchanges if closed else None
        return exchanges

    def answered(self) -> list[bytes]:
        """Return all bytes that clients received, by connection."""
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
        line = _ProxyLine()
        self._lines.append(line)
        onward = writer
        try:
            answers, onward = await asyncio.open_connection("127.0.0.1", self._port)
            ways = (_pass(reader, onward, line.requested), _pass(answers, writer, line.answered))
            running = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for way in running:
                way.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        finally:
            line.closed = True
            self._tasks.discard(task)
            onward.close()
            writer.close()


async def _pass(source: asyncio.StreamReader, to: asyncio.StreamWriter, record: bytearray) -> None:
    """Pass bytes on until one side has ended."""
    try:
        while data := await source.read(65_536):
            record += data
            to.write(data)
            await to.drain()
    except ConnectionError:
        pass


def _exchanges(line: _ProxyLine) -> list[Exchange]:
    requests, answers = bytes(line.requested), _AnswerBytes(bytes(line.answered))
    exchanges = []
    while requests:
        head, _, requests = requests.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        named = [
            (name, value.strip()) for name, _, value in (line_.partition(b":") for line_ in lines)
        ]
        length = next((int(v) for name, v in named if name.lower() == b"content-length"), 0)
        request = Request(first, named, requests[:length])
        requests = requests[length:]
        answer = HTTPResponse(answers, method=request.method)  # type: ignore[arg-type]  # it reads alone
        try:
            answer.begin()
        except (HTTPException, ConnectionError):  # the client left before an answer came
            exchanges.append(Exchange(request, 0, {}, b"", whole=False))
            continue
        headers = {name.lower(): value for name, value in answer.getheaders()}
        whole = True
        try:
            body = answer.read()
        except IncompleteRead as cut:
            body, whole = cut.partial, False
        exchanges.append(Exchange(request, answer.status, headers, body, whole))
    return exchanges


class _AnswerBytes(io.BytesIO):
    """The answers of one connection, one after the other, as http.client reads them."""

    def makefile(self, *_: Any) -> "_AnswerBytes":
        return self

    def close(self) -> None:
        """Stay open: another answer follows."""
