"""A gateway as a service manager runs it: it is sent signals, and its exit status is looked at."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


class Service:
    """`tiergate serve` with a part `server` of its configuration."""

    def __init__(
        self,
        folder: Path,
        upstream: Upstream,
        server: Config,
        before: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        first: str = "",
        port: int = 0,
        **more: Config,
    ) -> None:
        """`before` runs the program, as `prlimit` does; `first` is Python that comes before it.

        `more` are other parts of its configuration.
        """
        value = config(upstream.url)
        value.update(more)
        value["server"] = {"lb_delay": 0, "drain": 3, **server}
        folder.mkdir()
        self.folder = folder
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-c", f"{first}\n{_SERVE}", "--config", str(file), "serve", "--port", str(port)],
                env={
                    **keep, "PYTHONPATH": _ROOT, "PYTHONUNBUFFERED": "1",
                    "TIERGATE_DATA": str(folder / "data"),
                },
                stdin=stdin, stdout=out, stderr=err,
            )  # fmt: skip
        self.port = int(until(lambda: _ON.search(self._out.read_text()), "it listens")[1])  # type: ignore[index]

    @property
    def err(self) -> str:
        return self._err.read_text()

    def rows(self, event: str) -> list[dict[str, Any]]:
        """Its log."""
        found = [line for line in self.err.splitlines() if line.startswith("{")]
        rows = [jsonio.loads(line.encode()) for line in found]
        return [row for row in rows if row["event"] == event]

    def tell(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def ended(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    @contextmanager
    def asking(
        self, body: dict[str, Any] | None = None, path: str = "/v1/chat/completions"
    ) -> Iterator[socket.socket]:
        """A client that has sent a request."""
        data = jsonio.dumps(chat() if body is None else body)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
        with self.dial() as connection:
            connection.sendall(head.encode() + data)
            yield connection

    def get(self, path: str) -> int:
        """The status of a request on a connection of its own."""
        with self.dial() as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
            )
            return int(rest(connection).split()[1])

    def figure(self, name: str) -> int:
        """A figure of the process by its name in /proc: bytes of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def used(self) -> float:
        """Seconds of CPU that it has used."""
        return cpu_seconds(self.process.pid)

    @property
    def files(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - names are enough

    def journal(self) -> list[Row]:
        """All that its ledger has."""
        folder = self.folder / "data" / "ledger"
        found = [
            row for path in journal.list_segments(folder) for row, _ in journal.read_rows(path)
        ]
        return [row for row in found if row is not None]

    def entries(self) -> list[FinalRow]:
        return [row for row in self.journal() if isinstance(row, FinalRow)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    seen = b""
    while piece := connection.recv(65536):
        seen += piece
    return seen


def seen(connection: socket.socket, until: bytes) -> bytes:
    """What comes, up to some bytes and what came with them."""
    found = b""
    while until not in found:
        piece = connection.recv(65536)
        assert piece, found
        found += piece
    return found
