"""Traces: a call pays for a note, and a receiver that is slow or down costs it no more."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from gateway.core.entry import Reprice
from gateway.telemetry import trace
from gateway.telemetry.log import silent
from gateway.telemetry.span import Address, Span
from gateway.telemetry.trace import TraceError, Traces, address, otlp, traces_url
from tests.telemetry.rows import AT, ID, attempt, entry, intent

PATIENCE = 20.0
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Receiver:
    """Takes spans, or does not."""

    def __init__(self) -> None:
        self.takes = True
        self.found: list[Span] = []
        self.calls = 0
        self.closed = False
        self.asked = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def send(self, found: Sequence[Span]) -> bool:
        self.calls += 1
        self.asked.set()
        assert self.free.wait(PATIENCE)
        if self.takes:
            self.found += found
        return self.takes

    def close(self) -> None:
        self.closed = True

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.found]


@contextmanager
def sending(traces: Traces) -> Iterator[None]:
    traces.start()
    try:
        yield
    finally:
        traces.stop()


def test_rows_become_spans() -> None:
    """With what no row says: the operation, and the caller's trace."""
    receiver = Receiver()
    traces = Traces(receiver, silent, addresses={"acme": Address("api.acme.test", 443)})
    with sending(traces):
        traces.begin(ID, "embeddings", PARENT)
        second = intent(attempt=2, at=AT + 0.3)
        for row in (intent(), attempt(), second, entry(attempts=2, tier=None)):
            traces.note(row)
        traces.note(Reprice(id=ID, at=AT, cost=None, price=None))
    assert receiver.names == ["embeddings able-1"] * 3
    assert [span.kind for span in receiver.found] == ["server", "client", "client"]
    assert receiver.found[0].parent == int("b7ad6b7169203331", 16)
    assert receiver.found[2].attributes["server.address"] == "api.acme.test"
    assert receiver.closed
    assert traces.dropped == 0
    assert not traces._open, "nothing is kept of a call that has ended"


def test_rows_alone_are_enough() -> None:
    receiver = Receiver()
    traces = Traces(receiver, silent)
    with sending(traces):
        for row in (attempt(), intent(attempt=2), entry()):
            traces.note(row)
        traces.note(entry(id="tg-other"))
    assert receiver.names == ["chat smart", "chat able-1", "chat able-1", "chat smart"]


def test_what_is_not_of_the_share_is_forgotten() -> None:
    receiver = Receiver()
    traces = Traces(receiver, silent, sample=0.0)
    with sending(traces):
        for row in (intent(), attempt(), entry()):
            traces.note(row)
    assert (receiver.calls, traces.dropped, traces._open) == (0, 0, {})


def test_they_are_sent_while_it_runs() -> None:
    receiver = Receiver()
    traces = Traces(receiver, silent, every=0.001)
    with sending(traces):
        traces.note(entry())
        assert receiver.asked.wait(PATIENCE)


def test_a_slow_receiver_fills_a_queue_that_has_an_end() -> None:
    """What finds no place is counted; no call waits."""
    receiver = Receiver()
    receiver.free.clear()
    traces = Traces(receiver, silent, most=10, every=0.001)
    with sending(traces):
        traces.note(entry(id="tg-first"))
        assert receiver.asked.wait(PATIENCE)
        for number in range(25):
            traces.note(entry(id=f"tg-{number}"))
        assert traces.dropped == 15
        receiver.free.set()
    assert len(receiver.found) == 11
    assert traces.dropped == 15


def test_a_receiver_that_is_down_is_told_once_and_again_when_it_is_back() -> None:
    log: list[dict[str, object]] = []
    receiver = Receiver()
    traces = Traces(receiver, lambda event, **fields: log.append({"event": event, **fields}))
    traces._send([])
    receiver.takes = False
    for _ in range(3):
        traces.note(entry())
        traces._send(traces._taken(10))
    assert log == [{"event": "traces", "text": "not sent: the receiver took no spans"}]
    assert traces.dropped == 3
    receiver.takes = True
    traces._send([])
    traces._send([])
    assert log[1:] == [{"event": "traces", "text": "sent again"}]


def test_a_bug_in_sending_ends_no_thread() -> None:
    """Its text, which may quote anything, is not told."""
    log: list[str] = []

    class Broken(Receiver):
        def send(self, found: Sequence[Span]) -> bool:
            super().send(found)
            raise RuntimeError("secret")

    receiver = Broken()
    traces = Traces(receiver, lambda event, **fields: log.append(str(fields["text"])))
    with sending(traces):
        traces.note(entry())
    assert traces.dropped == 1
    assert log[0].startswith("not sent: RuntimeError at test_trace.py:")
    assert "secret" not in log[0]


def test_an_end_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a receiver that hangs: what still waits is counted as dropped."""
    monkeypatch.setattr(trace, "PATIENCE", 0.05)
    receiver = Receiver()
    receiver.free.clear()
    traces = Traces(receiver, silent, every=0.001)
    traces.start()
    traces.note(entry())
    assert receiver.asked.wait(PATIENCE)
    traces.note(entry(id="tg-2"))
    traces.note(entry(id="tg-3"))
    traces.stop()
    assert receiver.closed
    assert traces.dropped == 2
    traces.note(entry(id="tg-4"))
    assert traces.dropped == 3, "what comes after the end is not sent"
    receiver.free.set()
    assert traces._thread is not None
    traces._thread.join(PATIENCE)
    assert not traces._thread.is_alive()


def test_one_that_was_never_started_has_nothing_to_wait_for() -> None:
    """As in the process that forks the workers."""
    receiver = Receiver()
    Traces(receiver, silent).stop()
    assert (receiver.calls, receiver.closed) == (0, True)


def test_calls_that_never_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_OPEN", 3)
    traces = Traces(Receiver(), silent)
    for number in range(5):
        traces.note(intent(id=f"tg-{number}"))
    assert list(traces._open) == ["tg-2", "tg-3", "tg-4"]


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://a.test/otlp", "https://a.test/otlp/v1/traces"),
        ("https://a.test/otlp/v1/traces", "https://a.test/otlp/v1/traces"),
        ("https://a.test/v1/traces/?x=1", "https://a.test/v1/traces?x=1"),
    ],
)
def test_an_endpoint_is_written_with_its_path_or_without(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.acme.test/v1/x", Address("api.acme.test", 443)),
        ("http://127.0.0.1:8080/v1", Address("127.0.0.1", 8080)),
        ("http://[::1]/v1", Address("::1", 80)),
        ("", None),
    ],
)
def test_the_address_of_a_provider(url: str, found: Address | None) -> None:
    assert address(url) == found


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.telemetry.otel", None)
    with pytest.raises(TraceError, match=r"pip install 'tiergate\[otel\]'"):
        otlp("http://127.0.0.1:4318", {}, "1")
