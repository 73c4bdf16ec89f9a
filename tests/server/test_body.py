"""Test request bodies: their time and minimum speed, their maximum size, and their memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from gateway.core.errors import ClientGone, ProblemError
from gateway.limits.load_shedding import LoadSample, LoadShedder, MemoryReservation
from gateway.server.body import BodyReader
from gateway.server.request_headers import Message, Receive
from gateway.settings.schema.server import ServerPart, WaitPart


def memory_reservation(max_memory: int = 10**9) -> MemoryReservation:
    return MemoryReservation(LoadShedder(lambda: LoadSample(memory=10**8), max_memory=max_memory))


def client_sending(*pieces: bytes, end: bool = True) -> Receive:
    """Return a client that sends pieces, and then nothing more unless it has ended."""

    async def send_pieces() -> AsyncIterator[Message]:
        for number, piece in enumerate(pieces, 1):
            yield {
                "type": "http.request",
                "body": piece,
                "more_body": not end or number < len(pieces),
            }
        await asyncio.Event().wait()

    return send_pieces().__anext__


class FakeLoopClock:
    """A loop whose timers fire when the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.ring: object = None
        self.due: list[float] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_later", self._at)
        monkeypatch.setattr(loop, "call_at", self._at)

    def _at(self, due: float, ring: object) -> "FakeLoopClock":
        self.due.append(due)
        self.ring = ring
        return self

    def cancel(self) -> None:
        self.due.append(0.0)

    def strike(self, at: float) -> None:
        self.now = at
        assert callable(self.ring)
        self.ring()


async def read_body(server: ServerPart, receive: Receive, length: int | None = None) -> bytes:
    return await BodyReader(server).read(receive, length, memory_reservation())


@pytest.mark.parametrize("pieces", [[b"{}"], [b"a", b"b"], [b"", b"a", b""], [b""]])
async def test_a_body_is_put_together_from_its_pieces(pieces: Iterable[bytes]) -> None:
    assert await read_body(ServerPart(), client_sending(*pieces)) == b"".join(pieces)


async def test_a_client_that_leaves_while_sending_ends_the_request() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await read_body(ServerPart(), receive)


@pytest.mark.parametrize(("length", "pieces"), [(101, [b""]), (None, [b"x" * 60] * 2), (None, [b"x" * 101])])  # fmt: skip
async def test_a_body_above_the_limit_is_refused(
    length: int | None, pieces: Iterable[bytes]
) -> None:
    with pytest.raises(ProblemError, match="larger than 100 bytes") as caught:
        await read_body(ServerPart(max_body=100), client_sending(*pieces), length)
    assert caught.value.problem.kind == "request_too_large"
    assert await read_body(ServerPart(max_body=100), client_sending(b"x" * 100)) == b"x" * 100


async def test_a_body_needs_a_minimum_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body has 30 s, and 1 s more for each 10 kB: with 50 kB at 30 s it has until 35 s, no
    longer.
    """
    clock = FakeLoopClock(monkeypatch)
    server = ServerPart(timeouts=WaitPart(body=30.0, body_rate=10_000))
    task = asyncio.create_task(read_body(server, client_sending(b"x" * 50_000, end=False)))
    await asyncio.sleep(0)
    assert clock.due == [30.0]
    clock.strike(30.0)
    assert clock.due == [30.0, 35.0]
    clock.strike(35.0)
    with pytest.raises(ProblemError, match="did not arrive within 30 s") as caught:
        await task
    assert caught.value.problem.kind == "request_timeout"


async def test_a_cancelled_request_stops_reading_its_body() -> None:
    task = asyncio.create_task(read_body(ServerPart(), client_sending(b"x", end=False)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_body_reserves_memory_by_its_announced_length_or_as_it_arrives() -> None:
    """100 of 150 MB are used: five times 7 MB fit, and 10 MB do not."""
    reader = BodyReader(ServerPart())
    with pytest.raises(ProblemError, match="more memory than the gateway has"):
        await reader.read(client_sending(b"x"), 10_000_000, memory_reservation(150_000_000))
    piece = b"x" * 1_000_000
    with pytest.raises(ProblemError, match="more memory than the gateway has"):
        await reader.read(client_sending(*[piece] * 10), None, memory_reservation(150_000_000))
    assert (
        await reader.read(client_sending(*[piece] * 7), None, memory_reservation(150_000_000))
        == piece * 7
    )
