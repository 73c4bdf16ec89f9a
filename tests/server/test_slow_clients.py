"""Test a client that takes next to nothing of its answer, on a clock and transport of our own."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from gateway.server.http1.protocol import ClientConnection
from tests.server.http1.fakes import FakeApp, connect


class SlowTransport:
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


class FakeTimer:
    def __init__(self, seconds: float, ring: Callable[[], object]) -> None:
        self.seconds, self.ring, self.off = seconds, ring, False

    def cancel(self) -> None:
        self.off = True


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[FakeTimer]:
    """Replace the loop's timers; return the ones that were set."""
    set_timers: list[FakeTimer] = []

    def call_later(seconds: float, ring: Callable[[], object], *_: object) -> FakeTimer:
        set_timers.append(FakeTimer(seconds, ring))
        return set_timers[-1]

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    return set_timers


def connect_to(line: SlowTransport) -> ClientConnection:
    return connect(FakeApp(), line)


async def test_a_client_that_reads_too_little_is_disconnected(timers: list[FakeTimer]) -> None:
    """Each 16 kB taken within a minute gives the client one more minute."""
    line = SlowTransport()
    connection = connect_to(line)
    line.left = 100_000
    connection.pause_writing()
    for unsent in (80_000, 60_000):
        line.left = unsent
        assert timers[-1].seconds == 60.0
        timers[-1].ring()
        assert not line.aborted
    line.left = 43_617
    timers[-1].ring()
    assert (line.aborted, connection.transport.is_slow) == (True, True)


async def test_a_client_that_reads_everything_stays_connected(timers: list[FakeTimer]) -> None:
    line = SlowTransport()
    connection = connect_to(line)
    line.left = 100_000
    connection.pause_writing()
    connection.pause_writing()
    connection.resume_writing()
    assert [timer.off for timer in timers if timer.seconds == 60.0] == [True]
    connection.resume_writing()
    connection.connection_lost(None)
    assert not connection.transport.is_slow


async def test_bytes_in_the_kernel_do_not_count_as_read(timers: list[FakeTimer]) -> None:
    """The kernel may hold megabytes: they move first, and the bytes behind them do not."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
        with far, near:
            line = SlowTransport()
            connection = connect_to(line)
            line.sock, line.left = near, 100_000
            near.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += near.send(b"x" * 65536)
                except BlockingIOError:
                    break
            connection.pause_writing()
            unsent = connection.transport._unsent_bytes
            assert 100_000 < unsent <= 100_000 + sent
            received = 0
            while received < sent:
                received += len(far.recv(65536))
            timers[-1].ring()
            assert not line.aborted
            timers[-1].ring()
            assert line.aborted


async def test_the_rest_of_a_closed_connection_has_a_time_limit(timers: list[FakeTimer]) -> None:
    line = SlowTransport()
    connection = connect_to(line)
    line.left = 5
    connection.transport.close(lingers=False)
    assert (line.closed, line.aborted) == (True, False)
    assert timers[-1].seconds == 60.0
    timers[-1].ring()
    assert line.aborted


async def test_a_refused_client_may_finish_sending_before_the_connection_closes(
    timers: list[FakeTimer],
) -> None:
    """The client sees the end of its answer at once. For one second or 256 kB the gateway discards
    what it still sends.
    """
    line = SlowTransport()
    connection = connect_to(line)
    connection.data_received(b"rubbish\r\n\r\n")
    assert line.written.startswith(b"HTTP/1.1 400 ")
    assert line.ended
    closed_after = [line.closed]
    for piece in (b"x" * 262_144, b"x"):
        connection.data_received(piece)
        closed_after.append(line.closed)
    assert closed_after == [False, False, True]
    assert timers[-1].seconds == 1.0
    assert line.written.count(b"HTTP/1.1 400 ") == 1
