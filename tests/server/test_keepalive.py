"""Test that a stream is kept alive only while nothing else is written to its client."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.dialects import OPENAI_CHAT
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.keepalive import INTERVAL_SECONDS, Keepalive
from gateway.server.request_headers import Message
from tests.server.http1.fakes import FakeApp, FakeTransport, connect


class KeepaliveClock:
    """The running loop's time, set by the test, and the timers that were started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], object]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_later", self._call_later)

    def _call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        self.timers.append((seconds, callback))
        return asyncio.TimerHandle(0.0, callback, (), asyncio.get_running_loop())

    def ring(self) -> None:
        self.timers[-1][1]()


def make_writer() -> ResponseWriter:
    return connect(FakeApp(), FakeTransport())._make_writer(keep_alive=True)


async def test_bytes_that_the_relay_writes_delay_the_next_keep_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    writer, clock = make_writer(), KeepaliveClock(monkeypatch)
    keepalive = Keepalive(OPENAI_CHAT, "tg-1", send, writer)
    keepalive.arm([])
    writer.start(200, [])
    writer.write_body(b"1", more_body=True)
    clock.now += 10.0
    assert writer.write(b"2", None)
    clock.now = 100.0 + INTERVAL_SECONDS
    clock.ring()
    assert clock.timers[-1][0] == 10.0
    assert sent == []
    clock.now += 10.0
    clock.ring()
    await asyncio.sleep(0)
    assert sent[-1]["body"] == OPENAI_CHAT.keep_alive
