"""A provider on loopback that answers as a row tells it to, byte for byte, and keeps requests."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tests.e2e.four_labs import answer

type Fault = Callable[["Wire", "FaultRequest"], Awaitable[None]]
"""Answers one request, or leaves it without an answer."""


@dataclass(frozen=True)
class FaultRequest:
    """One request that the provider got."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    dialect: str

    @property
    def stream(self) -> bool:
        return b'"stream":true' in self.body.replace(b" ", b"") or ":stream" in self.path


class Wire:
    """The connection on which a request came."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.closed = False

    async def write(self, data: bytes) -> None:
        """Write data. Raises ConnectionError if the gateway has closed."""
        try:
            self._writer.write(data)
        except RuntimeError as error:  # uvloop raises this if the connection is closed
            raise ConnectionResetError from error
        await self._writer.drain()

    async def head(
        self,
        status: int = 200,
        *fields: str,
        kind: str = "application/json",
        length: int | None = None,
    ) -> None:
        """Write the status line and headers; without a length the body is chunked."""
        how = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {kind}", *fields, how, "", ""]
        await self.write("\r\n".join(lines).encode("latin-1"))

    async def whole(
        self, status: int, body: bytes, *fields: str, kind: str = "application/json"
    ) -> None:
        """Write a complete answer."""
        await self.head(status, *fields, kind=kind, length=len(body))
        await self.write(body)

    async def sse(self) -> None:
        """Write the headers of a stream."""
        await self.head(kind="text/event-stream")

    async def chunk(self, *pieces: bytes) -> None:
        """Write pieces at once, each as a chunk."""
        await self.write(
            b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        )

    async def end(self) -> None:
        """Write the end of a chunked body."""
        await self.write(b"0\r\n\r\n")

    async def flushed(self) -> None:
        """Wait until all written data has left this process."""
        transport = self._writer.transport
        transport.set_write_buffer_limits(0)
        await self._writer.drain()

    def close(self) -> None:
        """Send FIN after all written data."""
        self.closed = True
        self._writer.close()

    async def reset(self) -> None:
        """Send RST once the written data is on its way."""
        await self.flushed()
        await asyncio.sleep(0.05)  # the gateway must read first: a reset discards unread data
        self.closed = True
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def forever(self) -> None:
        """Say nothing more until the gateway closes."""
        await asyncio.Event().wait()


def frames(dialect: str) -> tuple[bytes, ...]:
    """Return the frames of a good stream."""
    return tuple(piece for piece in answer(dialect, stream=True).pieces if piece is not None)


def body(dialect: str) -> bytes:
    """Return a good whole answer."""
    (piece,) = answer(dialect).pieces
    assert piece is not None
    return piece


async def honest(wire: Wire, request: FaultRequest) -> None:
    """Send a good answer."""
    if request.stream:
        await wire.sse()
        await wire.chunk(*frames(request.dialect))
        await wire.end()
    else:
        await wire.whole(200, body(request.dialect))


@dataclass
class FaultProvider:
    """One listener, at which each path prefix is a provider of its own."""

    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    """Number of requests that were read, by provider."""
    left: dict[str, float] = field(default_factory=dict)
    """Monotonic time at which the gateway last closed before an answer had ended."""
    heard: dict[str, list[FaultRequest]] = field(default_factory=dict)
    port: int = 0

    def __post_init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def play(self, name: str, *faults: Fault) -> None:
        """Set what a provider does with its next requests, in turn; the last fault repeats."""
        self.faults[name] = deque(faults)

    async def start(self) -> None:
        self.port = await self.listen()

    async def listen(self, tls: ssl.SSLContext | None = None) -> int:
        """Open one more port for all providers."""
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=1 << 24, ssl=tls, backlog=512
        )
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def raw(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> int:
        """Open a port for a server that does not speak HTTP."""

        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with self._kept(), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
            writer.transport.abort()

        server = await asyncio.start_server(run, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def drop(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        await self.drop()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire, first = Wire(writer), b""
        with self._kept():
            try:
                while (received := await _read(reader, first)) is not None:
                    name, request = received
                    self.hits[name] += 1
                    self.heard.setdefault(name, []).append(request)
                    first = await self._answer(name, request, wire, reader)
                    if not first:
                        return
            except (
                ConnectionError,
                asyncio.IncompleteReadError,
                asyncio.CancelledError,
                ssl.SSLError,
            ):
                pass
            finally:
                if not wire.closed:
                    writer.transport.abort()

    async def _answer(
        self, name: str, request: FaultRequest, wire: Wire, reader: asyncio.StreamReader
    ) -> bytes:
        """Answer a request; return the first byte of the next one, or nothing if there is none."""
        queue = self.faults.get(name)
        fault = honest if not queue else queue.popleft() if len(queue) > 1 else queue[0]
        telling = asyncio.ensure_future(fault(wire, request))
        following = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({telling, following}, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                self.left[name] = time.monotonic()
                return b""
            await telling
            if wire.closed:
                return b""
            return await following
        finally:
            for task in (telling, following):
                task.cancel()
            await asyncio.gather(telling, following, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, first: bytes) -> tuple[str, FaultRequest] | None:
    """Read a request, and the name of its provider: the first part of the path."""
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head.decode("latin-1")[:-4].split("\r\n")
    headers = tuple(
        (k.lower(), v.strip()) for k, _, v in (header_line.partition(":") for header_line in lines)
    )
    length = next((int(value) for name, value in headers if name == "content-length"), 0)
    _, name, dialect, *_ = line.split(" ")[1].split("?")[0].split(":")[0].split("/")
    return name, FaultRequest(
        line.split(" ")[1], headers, await reader.readexactly(length), dialect
    )
