"""A port before a Redis that counts round trips: a send begins one if no answer is pending."""

import asyncio

import hiredis

from tests.e2e.world import Loop


class Trips:
    """Passes the bytes between a gateway and a Redis, and counts round trips."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.count = 0
        self.commands: list[bytes] = []
        """The names of the commands, in order."""
        self.connections = 0
        self._owed = 0
        self._to = port
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        loop.run(self._start())

    def close(self) -> None:
        self._loop.run(self._stop())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def _stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for writer in self._writers:
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        back, onward = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, onward}
        task = asyncio.create_task(self._answers(back, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        parser = hiredis.Reader()
        while data := await reader.read(1 << 20):
            commands = _whole(parser, data)
            if commands and self._owed == 0:
                self.count += 1
            self._owed += len(commands)
            self.commands += [
                bytes(command[0]) for command in commands if isinstance(command, list)
            ]
            onward.write(data)
        onward.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(1 << 20):
            replies = _whole(parser, data)
            self._owed -= len(replies)
            writer.write(data)
        writer.close()


def _whole(reader: hiredis.Reader, data: bytes) -> list[object]:
    """Return the complete messages from earlier bytes and these."""
    reader.feed(data)
    messages: list[object] = []
    while (message := reader.gets()) is not False:
        messages.append(message)
    return messages
