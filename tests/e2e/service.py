"""A gateway as a service manager runs it: with signals in, and an exit status out."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, Row
from gateway.ledger import journal
from tests.cpu import cpu_seconds
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Config, chat, config

_ROOT = str(Path(__file__).parents[2])
_SERVE = "from gateway.cli import main; main()"
_ON = re.compile(r"on http://127\.0\.0\.1:(\d+) ")


type Serve = Callable[..., Service]
"""The fixture `serve`, which starts gateways of one test."""


class Service:
    """`tiergate serve` with a given `server` section in its configuration."""

    def __init__(
        self,
        folder: Path,
        upstream: Upstream,
        server: Config,
        before: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        first: str = "",
        port: int = 0,
        data: Path | None = None,
        **more: object,
    ) -> None:
        """Start the program, on `data` if another one has left it.

        `before` is a command that runs the program, as `prlimit` does. `first` is Python that runs
        before it. `more` are other sections of the configuration.
        """
        value = config(upstream.url)
        value.update(more)
        value["server"] = {"lb_delay": 0, "drain": 3, **server}
        folder.mkdir()
        self.folder = folder
        self.data = data or folder / "data"
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        }
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-c", f"{first}\n{_SERVE}", "--config", str(file), "serve", "--port", str(port)],
                env={
                    **inherited, "PYTHONPATH": _ROOT, "PYTHONUNBUFFERED": "1",
                    "TIERGATE_DATA": str(self.data),
                },
                stdin=stdin, stdout=out, stderr=err,
            )  # fmt: skip
        self.port = int(until(lambda: _ON.search(self._out.read_text()), "it listens")[1])  # type: ignore[index]

    @property
    def err(self) -> str:
        return self._err.read_text()

    def rows(self, event: str) -> list[dict[str, Any]]:
        """Return the log rows of one event."""
        lines = [line for line in self.err.splitlines() if line.startswith("{")]
        rows = [jsonio.loads(line.encode()) for line in lines]
        return [row for row in rows if row["event"] == event]

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end, and return the exit status."""
        return self.process.wait(PATIENCE)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    @contextmanager
    def open_call(
        self, body: dict[str, Any] | None = None, path: str = "/v1/chat/completions"
    ) -> Iterator[socket.socket]:
        """Send a request as a client, and yield its connection."""
        data = jsonio.dumps(chat() if body is None else body)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
        with self.dial() as connection:
            connection.sendall(head.encode() + data)
            yield connection

    def get(self, path: str) -> int:
        """Return the status of a request on a new connection."""
        with self.dial() as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
            )
            return int(rest(connection).split()[1])

    def is_alive(self) -> bool:
        """True if it answers a health check."""
        with suppress(OSError, IndexError):
            return self.get("/health") == 200
        return False

    def figure(self, name: str) -> int:
        """Return a memory figure of the process by its name in /proc, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def used(self) -> float:
        """Return the seconds of CPU that the process used."""
        return cpu_seconds(self.process.pid)

    @property
    def files(self) -> int:
        """Return the number of open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - names are enough

    def journal(self) -> list[Row]:
        """Return every row of its ledger."""
        folder = self.data / "ledger"
        rows = [row for path in journal.list_segments(folder) for row, _ in journal.read_rows(path)]
        return [row for row in rows if row is not None]

    def entries(self) -> list[FinalRow]:
        return [row for row in self.journal() if isinstance(row, FinalRow)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


def rest(connection: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def read_until(connection: socket.socket, until: bytes) -> bytes:
    """Read until some bytes came, and return everything read so far."""
    received = b""
    while until not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received
