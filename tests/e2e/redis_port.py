"""The place where a gateway looks for Redis: the real one, another program, or nothing."""

import selectors
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import redis

from bench.free_port import find_free_port
from tests.e2e.child import Child, until

type Say = Callable[[bytes], bytes]
"""Returns the answer to the bytes that were read; empty sends nothing."""


class Place:
    """A loopback port at which a Redis runs, or does not."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self.port = find_free_port()
        self._server: Child | None = None

    def start(self, *options: str) -> None:
        """Run the real server here."""
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        command = [self._program, *fixed, "--save", "", *options]
        self._server = Child(command, self._folder / f"redis-{self.port}")
        until(self._answers, f"a server at {self.port}")

    def start_again(self) -> None:
        """Run the real server here unless it runs already."""
        if self._server is None:
            self.start()

    def kill(self) -> None:
        """Send SIGKILL, so that the server closes nothing in good order."""
        if self._server is not None:
            self._server.signal(signal.SIGKILL)
            self._server.stop()
            self._server = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the process: its kernel takes connections and data, the server answers nothing."""
        assert self._server is not None
        self._server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.signal(signal.SIGCONT)

    def admin(self, password: str | None = None) -> redis.Redis:
        """Return a client for the test, which closes it."""
        return redis.Redis(port=self.port, password=password, socket_timeout=20)

    @contextmanager
    def instead(self, answer: Say, greeting: bytes = b"") -> Iterator[None]:
        """Run another program here. With a greeting, it sends that to each client and closes."""
        self.kill()
        with Other(self.port, answer, greeting):
            yield

    @contextmanager
    def vanishing(self) -> Iterator[None]:
        """Accept no connections: the kernel drops each attempt silently."""
        self.kill()
        with ExitStack() as held:
            held.enter_context(socket.create_server(("127.0.0.1", self.port), backlog=0))
            for _ in range(4):  # fill its queue
                waiting = held.enter_context(closing(socket.socket()))
                waiting.setblocking(False)
                with suppress(BlockingIOError):
                    waiting.connect(("127.0.0.1", self.port))
            yield

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as dialled:
            dialled.sendall(b"PING\r\n")
            return dialled.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


class Other:
    """A program that listens on a port and is no Redis."""

    def __init__(self, port: int, answer: Say, greeting: bytes) -> None:
        self._tell, self._greeting = answer, greeting
        self._listening = socket.create_server(("127.0.0.1", port), backlog=512)
        self._wake, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._wake.close()
        self._thread.join()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, ExitStack() as held:
            for listening in (self._listening, self._end):
                held.enter_context(listening)
                selector.register(listening, selectors.EVENT_READ, listening)
            while True:
                for ready, _ in selector.select():
                    end: socket.socket = ready.data
                    if end is self._end:
                        return
                    if end is self._listening:
                        client = held.enter_context(end.accept()[0])
                        if self._greeting:
                            client.sendall(self._greeting)
                            client.close()
                        else:
                            selector.register(client, selectors.EVENT_READ, client)
                    elif not self._say(end):
                        selector.unregister(end)
                        end.close()

    def _say(self, end: socket.socket) -> bool:
        """Answer one read. True if the connection is still open."""
        with suppress(OSError):
            if data := end.recv(65536):
                end.sendall(self._tell(data))
                return True
        return False
