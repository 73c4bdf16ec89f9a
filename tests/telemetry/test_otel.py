"""Traces by OTLP, to a real receiver in its own process, and to none."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bench.free_port import find_free_port
from gateway.telemetry.log import LibraryLogHandler, ignore_event
from gateway.telemetry.otel import MAX_QUEUED_SPANS, STOP_TIMEOUT_SECONDS
from gateway.telemetry.spans import ProviderAddress
from gateway.telemetry.tracing import Tracing, make_otlp_sender
from tests.e2e.child import until
from tests.telemetry.rows import AT, CANARY, ID, attempt, entry, intent
from tests.telemetry.tap import TraceReceiver, read_attributes

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReceiver]:
    receiver = TraceReceiver(tmp_path_factory.mktemp("tap"))
    yield receiver
    receiver.child.stop()


def test_a_receiver_gets_the_spans_of_a_call(tap: TraceReceiver) -> None:
    """The spans keep the caller's trace, times, kinds, statuses and attributes."""
    sender = make_otlp_sender(tap.url, {"x-collector-key": CANARY}, "1.2.3", ignore_event)
    traces = Tracing(sender, addresses={"acme": ProviderAddress("api.acme.test", 443)})
    sender.start()
    traces.begin(ID, "generate", f"00-{TRACE}-{SPAN}-01")
    for row in (intent(), attempt(), intent(attempt=2, at=AT + 0.25), entry(attempts=2)):
        traces.note(row)
    sender.stop()
    assert sender.dropped == 0
    call, failed, answer = tap.spans(3)
    assert {span["traceId"] for span in (call, failed, answer)} == {TRACE}
    assert call["parentSpanId"] == SPAN
    assert failed["parentSpanId"] == answer["parentSpanId"] == call["spanId"]
    assert [span["kind"] for span in (call, failed, answer)] == [2, 3, 3]  # server, client, client
    assert [span["status"]["code"] for span in (call, failed, answer)] == [0, 2, 0]  # unset, error
    assert int(answer["startTimeUnixNano"]) == pytest.approx((AT + 0.25) * 1e9, abs=1000)
    assert int(answer["endTimeUnixNano"]) == pytest.approx((AT + 1.5) * 1e9, abs=1000)
    attributes = read_attributes(answer)
    assert attributes["gen_ai.usage.input_tokens"] == "150"
    assert attributes["gen_ai.provider.name"] == "acme"
    assert attributes["server.port"] == "443"
    assert CANARY not in tap.child.out


def test_traces_use_no_proxy_of_the_environment(
    tap: TraceReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-SSRF 6: spans, and the receiver's own key with them, go where the configuration says."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        sender = make_otlp_sender(tap.url, {"x-collector-key": CANARY}, "1", ignore_event)
        traces = Tracing(sender)
        sender.start()
        traces.begin(ID, "generate", f"00-{TRACE[::-1]}-{SPAN}-01")
        for row in (intent(), entry()):
            traces.note(row)
        sender.stop()
        assert sender.dropped == 0
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def _find_closed_port() -> tuple[str, Callable[[], object]]:
    return f"http://127.0.0.1:{find_free_port()}", lambda: None


def _start_silent_server() -> tuple[str, Callable[[], object]]:
    """Make a server that takes connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    return f"http://127.0.0.1:{server.getsockname()[1]}", server.close


@pytest.mark.parametrize("start_receiver", [_find_closed_port, _start_silent_server])
def test_a_stop_has_a_time_limit_even_without_a_receiver(
    start_receiver: Callable[[], tuple[str, Callable[[], object]]],
) -> None:
    """No call waits; one log line reports it, without the library's own warnings."""
    url, close = start_receiver()
    log: list[str] = []
    library = LibraryLogHandler(lambda event, **fields: log.append(str(fields)))
    logging.getLogger().addHandler(library)
    sender = make_otlp_sender(
        url, {"authorization": CANARY}, "1", lambda event, **fields: log.append(str(fields))
    )
    traces = Tracing(sender)
    sender.start()
    start = time.perf_counter()
    for number in range(1000):
        traces.note(entry(id=f"tg-{number}"))
    seconds_to_note = time.perf_counter() - start
    start = time.perf_counter()
    sender.stop()
    seconds_to_stop = time.perf_counter() - start
    close()
    assert seconds_to_note < 1
    assert seconds_to_stop < STOP_TIMEOUT_SECONDS + 1
    assert sender.dropped == 1000
    until(lambda: log, "a line of the log")
    logging.getLogger().removeHandler(library)
    assert log == ["{'text': 'not sent: the receiver took no spans'}"]


def test_a_slow_receiver_fills_a_bounded_queue_and_delays_no_call() -> None:
    """Spans of a call that finds no room are counted as dropped at once; no call waits."""
    url, close = _start_silent_server()
    sender = make_otlp_sender(url, {}, "1", ignore_event)
    traces = Tracing(sender)
    sender.start()
    start = time.perf_counter()
    for number in range(MAX_QUEUED_SPANS + 2000):
        traces.note(entry(id=f"tg-{number}"))
    assert time.perf_counter() - start < 5
    assert 0 < sender.dropped <= 2000
    sender.stop()
    close()
    assert sender.dropped == MAX_QUEUED_SPANS + 2000
    traces.note(entry(id="tg-late"))
    assert sender.dropped == MAX_QUEUED_SPANS + 2001, "what comes after the end is not sent"


class SwitchableReceiver(BaseHTTPRequestHandler):
    """A receiver that takes spans, or does not."""

    status = 400

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(SwitchableReceiver.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_receiver_that_is_down_is_logged_once_and_again_when_it_is_back() -> None:
    log: list[object] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), SwitchableReceiver)
    Thread(target=server.serve_forever, daemon=True).start()
    sender = make_otlp_sender(
        f"http://127.0.0.1:{server.server_port}",
        {},
        "1",
        lambda event, **fields: log.append(fields),
    )
    traces = Tracing(sender)
    sender.start()
    traces.note(entry(id="tg-0"))
    until(lambda: sender.dropped == 1, "a refusal")
    traces.note(entry(id="tg-1"))
    until(lambda: sender.dropped == 2, "another")
    SwitchableReceiver.status = 200
    traces.note(entry(id="tg-2"))
    until(lambda: len(log) == 2, "an answer")
    traces.note(entry(id="tg-3"))
    sender.stop()
    server.shutdown()
    server.server_close()
    assert sender.dropped == 2
    assert log == [{"text": "not sent: the receiver took no spans"}, {"text": "sent again"}]


def test_a_sender_that_was_never_started_sends_nothing() -> None:
    """The process that forks the workers is such a one."""
    sender = make_otlp_sender("http://127.0.0.1:9", {}, "1", ignore_event)
    Tracing(sender).note(entry())
    sender.stop()
    assert sender.dropped == 1
