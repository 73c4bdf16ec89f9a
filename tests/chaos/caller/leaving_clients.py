"""C-01, C-02, C-05: clients that leave at any moment, by a close, a reset or a half-close."""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from tests.chaos import provider
from tests.chaos.all_clients import new_prompt
from tests.chaos.client import endpoint_path, make_body
from tests.chaos.environment import ChaosEnvironment, add_lab
from tests.chaos.gateway import CLIENT_KEY, ChaosGateway
from tests.chaos.provider import Fault, FaultRequest, Wire, honest
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.chaos.upstream.fault import ledger
from tests.e2e.child import until
from tests.e2e.four_labs import TEXT
from tests.e2e.world import Config

SOON = 0.25
"""Seconds within which the gateway closes the provider's connection."""
_PATIENCE = 20.0
_number = count(1)

type Leave = Callable[[socket.socket], object]


def request(cell: Cell, model: str, tag: str, prompt: str) -> bytes:
    """Return a call as bytes, with a tag by which its row can be found."""
    path = endpoint_path(cell.dialect, model, stream=cell.stream)
    body = make_body(cell.dialect, model, stream=cell.stream, prompt=prompt)
    lines = (
        f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json",
        f"authorization: Bearer {CLIENT_KEY}", f"x-tiergate-tags: {tag}", f"content-length: {len(body)}",
        "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + body


def tag() -> str:
    """Return a tag that no other call has."""
    return f"caller-{next(_number)}"


async def _silent(wire: Wire, request: FaultRequest) -> None:
    await wire.forever()


async def _half(wire: Wire, request: FaultRequest) -> None:
    """Send a part of the answer, and nothing more."""
    if request.stream:
        frames = provider.frames(request.dialect)
        await wire.sse()
        await wire.chunk(*frames[: len(frames) // 2])
    else:
        body = provider.body(request.dialect)
        await wire.head(length=len(body))
        await wire.write(body[: len(body) // 2])
    await wire.forever()


async def _endless(wire: Wire, request: FaultRequest) -> None:
    """Send all of the answer except its end."""
    if request.stream:
        await wire.sse()
        await wire.chunk(*provider.frames(request.dialect)[:-1])
    else:
        body = provider.body(request.dialect)
        await wire.head(length=len(body))
        await wire.write(body[:-1])
    await wire.forever()


def _politely(connection: socket.socket) -> None:
    connection.close()


def _rudely(connection: socket.socket) -> None:
    """Close with a reset: the client's kernel drops what it has not read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _half_closed(connection: socket.socket) -> None:
    """Shut down the sending side and keep reading, until the gateway closes."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(_PATIENCE)
    while connection.recv(65536):
        pass
    connection.close()


def dial(gateway: ChaosGateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), _PATIENCE)


def _read(connection: socket.socket, some: bytes) -> None:
    """Read until `some` has come."""
    connection.settimeout(_PATIENCE)
    seen = b""
    while some not in seen:
        data = connection.recv(65536)
        assert data, seen
        seen += data


def leaving(id: str, name: str, does: Fault, how: Leave, **more: Any) -> FaultRow:
    """Return a row with a client that leaves while its provider answers or is silent."""

    def prepare(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
        add_lab(value, environment, cell)

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        gateway, mark, prompt = environment.gateway, tag(), new_prompt()
        environment.provider.play(cell.name, does)
        connection = dial(gateway)
        connection.sendall(request(cell, f"{cell.name}/smart", mark, prompt))
        until(lambda: environment.provider.hits[cell.name], "the provider is asked")
        if cell.stream and does is not _silent:
            _read(connection, TEXT[:4].encode())
        else:
            assert not select.select([connection], [], [], 0.05)[0]
        since = time.monotonic()
        how(connection)
        until(lambda: cell.name in environment.provider.left, "the provider is let go")
        took = environment.provider.left[cell.name] - since
        entry = gateway.tagged(mark)
        environment.provider.play(cell.name, honest)
        model = f"{cell.name}/smart"
        again = gateway.ask(cell.dialect, model, stream=cell.stream, prompt=prompt)
        cache = "hit" if again.headers.get("x-tiergate-cache") == "hit" else "none"
        gateway.entry(again.id)
        late = took > (SOON if environment.strict else 10 * SOON)
        return Seen(
            attempts=entry.attempts,
            ledger=ledger(entry),
            cache=cache,
            more=f"let go {'late' if late else 'in time'}: {took * 1000:.0f} ms",
        )

    # If an answer lacks only its last mark, its usage may be known: then it is settled.
    settled = ("aborted by client", "settled") if does is _endless else "aborted by client"
    expected = Expected(None, None, 1, settled, "none", "let go in time: .*")
    return FaultRow(id, name, "client", play, expected, prepare, **more)


def _moments() -> Iterator[FaultRow]:
    """Yield rows of clients that leave: streamed answers are C-01, whole ones C-02."""
    for id, mode in (("C-01", "stream"), ("C-02", "whole")):
        for name, does in (("before an answer", _silent), ("within an answer", _half)):
            first = does is _silent
            yield leaving(id, f"leaves {name}", does, _politely, modes=(mode,), ci=first)
            yield leaving(id, f"leaves {name}, by reset", does, _rudely, modes=(mode,))
        yield leaving(id, "leaves before the end", _endless, _politely, modes=(mode,))


ROWS: tuple[FaultRow, ...] = (
    *_moments(),
    leaving("C-05", "closes its half before an answer", _silent, _half_closed),
    leaving("C-05", "closes its half within an answer", _half, _half_closed),
)
