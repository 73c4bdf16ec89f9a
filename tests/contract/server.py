"""A raw loopback server that sends exactly the bytes that a test has written."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

type Script = Callable[[RawPeer], Awaitable[None]]
"""The script of one connection, which the server closes at the script's end."""


class RawRequest:
    """One request as it arrived."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self.line, *self.fields = head.rstrip(b"\r\n").split(b"\r\n")

    def all(self, name: bytes) -> list[bytes]:
        """Return all values of a header."""
        pairs = [field.split(b": ", 1) for field in self.fields]
        return [value for key, value in pairs if key.lower() == name]


class RawPeer:
    """One connection, as the server sees it."""

    def __init__(
        self, server: "RawServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def request(self) -> RawRequest:
        """Read the next request. Raises asyncio.IncompleteReadError if the client has left."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        request = RawRequest(head, b"")
        if length := request.all(b"content-length"):
            request.body = await self.reader.readexactly(int(length[0]))
        elif request.all(b"transfer-encoding"):
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                request.body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        self.server.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def left(self) -> None:
        """Wait until the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


class RawServer:
    """A server that listens inside `with`.

    At the end it raises what a script raised, except lost connections.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []
        self.requests: list[RawRequest] = []
        self.live = 0
        self.peak = 0
        self.opened = 0
        self.port = 0
        self.empty = asyncio.Event()
        """Set while no connection is open."""
        self.empty.set()

    @property
    def url(self) -> str:
        return f"{'https://localhost' if self._tls else 'http://127.0.0.1'}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", ssl=self._tls, limit=1 << 22, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)
        if self._failed:
            raise self._failed[0]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.live += 1
        self.opened += 1
        self.peak = max(self.peak, self.live)
        self.empty.clear()
        try:
            await self._script(RawPeer(self, reader, writer))
            await writer.drain()
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over: no TLS close is needed
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001 - raised at the end of the test
            self._failed.append(error)
        finally:
            self.live -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            if not self.live:
                self.empty.set()


def always(answer: bytes) -> Script:
    """Make a script that answers each request with the same bytes."""

    async def script(peer: RawPeer) -> None:
        while True:
            await peer.request()
            await peer.send(answer)

    return script


def once(answer: bytes) -> Script:
    """Make a script that answers one request and closes."""

    async def script(peer: RawPeer) -> None:
        await peer.request()
        await peer.send(answer)

    return script
