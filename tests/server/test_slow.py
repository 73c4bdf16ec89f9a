"""Test a client that takes next to nothing of its answer, on a clock and transport of our own."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from gateway.server.http1.protocol import ClientConnection
from tests.server.http1.fakes import FakeApp, connect


class Line:
    """A transport that holds unsent bytes, and records how it was ended."""

    def __init__(self) -> None:
        self.left = 0
        self.aborted = self.closed = self.ended = False
        self.sock: socket.socket | None = None
        self.written = b""

    def get_write_buffer_size(self) -> int:
        return self.left

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.sock if name == "socket" else default

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def resume_reading(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = self.closed = True

    def close(self) -> None:
        self.closed = True


class Alarm:
    def __init__(self, seconds: float, ring: Callable[[], object]) -> None:
        self.seconds, self.ring, self.off = seconds, ring, False

    def cancel(self) -> None:
        self.off = True


@pytest.fixture
async def alarms(monkeypatch: pytest.MonkeyPatch) -> list[Alarm]:
    """Replace the loop's timers; return the ones that were set."""
    found: list[Alarm] = []

    def call_later(seconds: float, ring: Callable[[], object], *_: object) -> Alarm:
        found.append(Alarm(seconds, ring))
        return found[-1]

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    return found


def connected(line: Line) -> ClientConnection:
    return connect(FakeApp(), line)


async def test_one_that_takes_too_little_is_let_go(alarms: list[Alarm]) -> None:
    """Each 16 kB taken within a minute gives the client one more minute."""
    line = Line()
    wire = connected(line)
    line.left = 100_000
    wire.pause_writing()
    for left in (80_000, 60_000):
        line.left = left
        assert alarms[-1].seconds == 60.0
        alarms[-1].ring()
        assert not line.aborted
    line.left = 43_617
    alarms[-1].ring()
    assert (line.aborted, wire.transport.is_slow) == (True, True)


async def test_one_that_takes_what_is_written_is_not(alarms: list[Alarm]) -> None:
    line = Line()
    wire = connected(line)
    line.left = 100_000
    wire.pause_writing()
    wire.pause_writing()
    wire.resume_writing()
    assert [alarm.off for alarm in alarms if alarm.seconds == 60.0] == [True]
    wire.resume_writing()
    wire.connection_lost(None)
    assert not wire.transport.is_slow


async def test_what_the_kernel_holds_is_not_taken_either(alarms: list[Alarm]) -> None:
    """The kernel may hold megabytes: they move first, and the bytes behind them do not."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
        with far, near:
            line = Line()
            wire = connected(line)
            line.sock, line.left = near, 100_000
            near.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += near.send(b"x" * 65536)
                except BlockingIOError:
                    break
            wire.pause_writing()
            held = wire.transport._unsent_bytes
            assert 100_000 < held <= 100_000 + sent
            taken = 0
            while taken < sent:
                taken += len(far.recv(65536))
            alarms[-1].ring()
            assert not line.aborted
            alarms[-1].ring()
            assert line.aborted


async def test_what_is_left_of_a_closed_connection_has_its_time(alarms: list[Alarm]) -> None:
    line = Line()
    wire = connected(line)
    line.left = 5
    wire.transport.close(lingers=False)
    assert (line.closed, line.aborted) == (True, False)
    assert alarms[-1].seconds == 60.0
    alarms[-1].ring()
    assert line.aborted


async def test_one_that_was_refused_may_stop_sending_first(alarms: list[Alarm]) -> None:
    """The client sees the end of its answer at once. For one second or 256 kB the gateway discards
    what it still sends.
    """
    line = Line()
    wire = connected(line)
    wire.data_received(b"rubbish\r\n\r\n")
    assert line.written.startswith(b"HTTP/1.1 400 ")
    assert line.ended
    seen = [line.closed]
    for piece in (b"x" * 262_144, b"x"):
        wire.data_received(piece)
        seen.append(line.closed)
    assert seen == [False, False, True]
    assert alarms[-1].seconds == 1.0
    assert line.written.count(b"HTTP/1.1 400 ") == 1
