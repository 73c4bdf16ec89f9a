"""The scripted provider of both gateways: it answers by the exchange in progress, and records bytes.

It imports nothing of the gateway. One server serves both, so that no port and no URL differs. A
request shows by its credential, or by a header, which gateway sent it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from tests.e2e.upstream import Answer, failing
from tests.twin.configuration import SIDE
from tests.twin.exchanges.exchange import ProviderRequest, Script

_BUFFER = 2**26
"""Bytes of the longest head; bodies have no bound."""
UNSCRIPTED = failing(418, b'{"error":{"message":"Nothing is scripted.","type":"unscripted"}}')


class RawAnswer(Answer):
    """An answer whose first piece holds the head as it is."""

    def head(self) -> bytes:
        """Return nothing: the pieces have it."""
        return b""


class _Script:
    """The answers to one gateway in one exchange, and the requests it has sent."""

    def __init__(self, answers: Sequence[Script]) -> None:
        self._answers = answers
        self.sent: list[ProviderRequest] = []
        self._open = 0
        """Requests that are not answered to their end."""
        self.idle = asyncio.Event()
        """Set while no request is open."""
        self.idle.set()

    def begin(self, sent: ProviderRequest) -> Answer:
        """Record a request and return its answer."""
        self.sent.append(sent)
        self._open += 1
        self.idle.clear()
        if not self._answers:
            return UNSCRIPTED
        script = self._answers[min(len(self.sent), len(self._answers)) - 1]
        return script if isinstance(script, Answer) else script(sent)

    def end(self) -> None:
        """Note that a request is answered to its end, or was left."""
        self._open -= 1
        if not self._open:
            self.idle.set()


class TwinProvider:
    """The server of both gateways."""

    def __init__(self) -> None:
        self.url = ""
        self.alerts: dict[str, list[ProviderRequest]] = defaultdict(list)
        """Requests of the alerts' webhook, which belong to no exchange, by gateway."""
        self._scripts: dict[str, _Script] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_BUFFER)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def play(self, side: str, answers: Sequence[Script]) -> list[ProviderRequest]:
        """Answer one gateway by these answers from now on; return the list that its requests join."""
        self._scripts[side] = script = _Script(answers)
        return script.sent

    async def idle(self, side: str) -> None:
        """Wait until every request of a gateway is answered to its end, or was left."""
        await self._scripts[side].idle.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (sent := await _read(reader)) is not None:
                if not await self._answer(sent, reader, writer):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(
        self, sent: ProviderRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return True if the connection stays open."""
        match = SIDE.search((sent.line + sent.head).decode("latin-1"))
        assert match is not None, f"from neither gateway: {sent.line!r}\n{sent.head.decode()}"
        side = match[1]
        if sent.path.startswith("/hook/"):
            self.alerts[side].append(sent)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return True
        script = self._scripts[side]
        try:
            answer = script.begin(sent)
            await _write(answer, reader, writer)
        finally:
            script.end()
        return answer.end == "clean" and not isinstance(answer, RawAnswer)


async def _write(
    answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if answer.delay:
        await asyncio.sleep(answer.delay)
    chunked = answer.length is None and not isinstance(answer, RawAnswer)
    if answer.status:
        writer.write(answer.head())
    for piece in answer.pieces:
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if answer.status and answer.end == "clean" and chunked:
        writer.write(b"0\r\n\r\n")
    with suppress(ConnectionError):
        await writer.drain()
    if answer.end == "stall":  # until the gateway closes
        await reader.read(1)
    elif answer.end == "cut" or isinstance(answer, RawAnswer):
        writer.write_eof()
        await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader) -> ProviderRequest | None:
    """Read a request byte for byte; return None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, _, fields = head[:-4].partition(b"\r\n")
    length = 0
    for field in fields.split(b"\r\n"):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return ProviderRequest(line, fields, await reader.readexactly(length))
