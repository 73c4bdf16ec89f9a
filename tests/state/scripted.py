"""A server of the Redis protocol that answers as a test says."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

type Answer = Callable[[list[bytes]], Awaitable[bytes]]


class Scripted:
    """Answers each request with what `answer` returns for its words."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.commands: list[bytes] = []
        """The first word of each request."""
        self.dialled = self.port = 0

    async def up(self, secured: ssl.SSLContext | None = None) -> None:
        """Listen on a free port, with TLS if there is a context."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=secured)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Close all connections and the port."""
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        task = asyncio.ensure_future(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                self.commands.append(words[0])
                writer.write(await self._answer(words))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
