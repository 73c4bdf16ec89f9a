"""Fakes: an application, a transport and a connection without a network."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from gateway.server.connections import ConnectionLimit
from gateway.server.http1.exchange import HttpRoute
from gateway.server.http1.protocol import ClientConnection
from gateway.server.request_headers import Receive, Scope, Send
from gateway.settings.schema.server import WaitPart
from gateway.upstream.write_batch import WriteBatch
from tests.server.gate import CHAT

type ServeRequest = Callable[[Scope, Receive, Send], Any]


class FakeTransport:
    """Keeps the bytes written to it; `is_closed` and `is_reading` show its state."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False
        self.is_reading = True

    @property
    def data(self) -> bytes:
        """All bytes that were written."""
        return b"".join(self.written)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def get_extra_info(self, _: str) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def resume_reading(self) -> None:
        self.is_reading = True

    def pause_reading(self) -> None:
        self.is_reading = False


class FakeWriteBatch(WriteBatch):
    """Reports each call that is answered in the loop iteration in which it came."""

    __slots__ = ("_on_immediate_answer",)

    def __init__(self, on_immediate_answer: Callable[[], object]) -> None:
        super().__init__(lambda: True)
        self._on_immediate_answer = on_immediate_answer

    def mark_immediate_answer(self) -> None:
        self._on_immediate_answer()


class FakeApp:
    """Has an endpoint at the chat path; `serve` is the ASGI application for all other paths."""

    def __init__(
        self,
        endpoint: HttpRoute | None = None,
        serve: ServeRequest | None = None,
        on_immediate_answer: Callable[[], object] = int,
    ) -> None:
        self.endpoint = endpoint
        self.serve = serve
        self.shutdown = SimpleNamespace(closes_connections=False)
        self.admission = SimpleNamespace(shutdown=self.shutdown)
        self.connection_limit = ConnectionLimit(8, lambda: 0.0)
        self.refused: list[str] = []
        self.refusal_log = SimpleNamespace(note=self.refused.append)
        self.timeouts = WaitPart()
        self.write_batch = FakeWriteBatch(on_immediate_answer)

    def find_endpoint(self, path: bytes, _: object) -> HttpRoute | None:
        return self.endpoint if path == CHAT.encode() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.serve is not None:
            await self.serve(scope, receive, send)


def connect(
    app: FakeApp, transport: object, default_headers: tuple[tuple[bytes, bytes], ...] = ()
) -> ClientConnection:
    """Return a connection to an application, on a transport."""
    state: Any = SimpleNamespace(
        connections=set(), tasks=set(), total_requests=0, default_headers=[*default_headers]
    )
    config: Any = SimpleNamespace(app=app)
    connection = ClientConnection(config, state, {})
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection
