"""The server of one process, when it stops accepting connections."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn

from gateway.cli.serve.server import WorkerServer
from gateway.settings.schema.server import ServerPart as Settings


class Echo(asyncio.Protocol):
    """A protocol that sends back what it receives."""

    def __init__(self, **_options: object) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
        self.transport.close()


async def test_a_closing_server_answers_clients_that_wait_to_be_accepted() -> None:
    """The server answers two clients that wait to be accepted, and refuses a third."""
    config = uvicorn.Config(cast("Any", None), http=cast("Any", Echo))
    server = WorkerServer(config, cast("Any", None), Settings(), cast("Any", print))
    server.lifespan = cast("Any", SimpleNamespace(state={}))
    config.http_protocol_class = cast("Any", Echo)
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        server._accept_waiting([listening])
        assert listening.fileno() < 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        for number, client in enumerate((first, second)):
            client.settimeout(0)
            loop, sent = asyncio.get_running_loop(), b"%d" % number
            await loop.sock_sendall(client, sent)
            for expected in (sent, b""):
                assert await asyncio.wait_for(loop.sock_recv(client, 10), 10) == expected
