"""A way to a server that a test can cut: a port of its own, in a process of its own.

Run as `python -m tests.e2e.redis_path FILE`. It prints its port. FILE names the server's port; an
empty FILE cuts the way: open connections are reset, and new ones too. SIGHUP makes it read again.
"""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.child import Child, until

_ROOT = Path(__file__).parents[2]


class RedisPath:
    """The path from one gateway to Redis, as the test sees it."""

    def __init__(self, folder: Path, name: str, server_port: int) -> None:
        self._file = folder / f"{name}.port"
        self._server_port = server_port
        self._file.write_text(f"{server_port}")
        command = [sys.executable, "-m", "tests.e2e.redis_path", str(self._file)]
        self._child = Child(command, folder / name, PYTHONPATH=str(_ROOT))
        until(lambda: self._child.out.strip(), "its port")  # noqa: PLW0108 - read anew each time
        self.port = int(self._child.out)

    def cut(self) -> None:
        """Reset all connections, and take no others."""
        self._write("")

    def heal(self) -> None:
        """Lead to the server again."""
        self._write(f"{self._server_port}")

    @contextmanager
    def partitioned(self) -> Iterator[None]:
        """Lose what both sides send, while connections stay open, as a partition does."""
        self._child.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._child.signal(signal.SIGCONT)

    def lead_to(self, server_port: int) -> None:
        """Reset all connections; new ones lead to another server."""
        self._server_port = server_port
        self.heal()

    def close(self) -> None:
        """End the process."""
        self._child.stop()

    def _write(self, text: str) -> None:
        self._file.write_text(text)
        self._child.signal(signal.SIGHUP)


class _Ports:
    """The port that leads to a server."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writers: set[asyncio.StreamWriter] = set()

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self._file.read_text()
        if port:
            with suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
                self._writers |= {writer, far_writer}
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def _serve(file: Path) -> None:
    ports = _Ports(file)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ports.drop)
    server = await asyncio.start_server(ports.join, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
