"""Traces by OTLP, at a real receiver that is a program of its own, and at none."""

import logging
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.telemetry.log import Library, silent
from gateway.telemetry.span import Address
from gateway.telemetry.trace import PATIENCE, Traces, otlp
from tests.telemetry.rows import AT, CANARY, ID, attempt, entry, intent
from tests.telemetry.tap import Tap, told

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    made = Tap(tmp_path_factory.mktemp("tap"))
    yield made
    made.child.stop()


def test_a_receiver_gets_the_spans_of_a_call(tap: Tap) -> None:
    """Under the caller's trace, with times, kinds, statuses and attributes as they were."""
    traces = Traces(
        otlp(tap.url, {"x-collector-key": CANARY}, "1.2.3"),
        silent,
        addresses={"acme": Address("api.acme.test", 443)},
    )
    traces.start()
    traces.begin(ID, "generate", f"00-{TRACE}-{SPAN}-01")
    for row in (intent(), attempt(), intent(attempt=2, at=AT + 0.25), entry(attempts=2)):
        traces.note(row)
    traces.stop()
    assert traces.dropped == 0
    call, lost, answer = tap.spans(3)
    assert {one["traceId"] for one in (call, lost, answer)} == {TRACE}
    assert call["parentSpanId"] == SPAN
    assert lost["parentSpanId"] == answer["parentSpanId"] == call["spanId"]
    assert [one["kind"] for one in (call, lost, answer)] == [2, 3, 3]  # server, client, client
    assert [one["status"]["code"] for one in (call, lost, answer)] == [0, 2, 0]  # unset, error
    assert int(answer["startTimeUnixNano"]) == pytest.approx((AT + 0.25) * 1e9, abs=1000)
    assert int(answer["endTimeUnixNano"]) == pytest.approx((AT + 1.5) * 1e9, abs=1000)
    found = told(answer)
    assert found["gen_ai.usage.input_tokens"] == "150"
    assert found["gen_ai.provider.name"] == "acme"
    assert found["server.port"] == "443"
    assert CANARY not in tap.child.out


def test_the_environment_gives_traces_no_proxy(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-SSRF 6: spans, and the receiver's own key with them, go where the configuration says."""
    with socket.create_server(("127.0.0.1", 0)) as evil:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{evil.getsockname()[1]}")
        traces = Traces(otlp(tap.url, {"x-collector-key": CANARY}, "1"), silent)
        traces.start()
        traces.begin(ID, "generate", f"00-{TRACE[::-1]}-{SPAN}-01")
        for row in (intent(), entry()):
            traces.note(row)
        traces.stop()
        assert traces.dropped == 0
        evil.setblocking(False)
        with pytest.raises(BlockingIOError):
            evil.accept()


def _nobody() -> tuple[str, Callable[[], object]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}", lambda: None


def _deaf() -> tuple[str, Callable[[], object]]:
    """It takes connections, and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    return f"http://127.0.0.1:{server.getsockname()[1]}", server.close


@pytest.mark.parametrize("place", [_nobody, _deaf])
def test_an_end_is_within_its_time_also_without_a_receiver(
    place: Callable[[], tuple[str, Callable[[], object]]],
) -> None:
    """No call has waited; one line tells of it, and the library's own warnings are not told."""
    url, close = place()
    log: list[str] = []
    library = Library(lambda event, **fields: log.append(str(fields)))
    logging.getLogger().addHandler(library)
    traces = Traces(
        otlp(url, {"authorization": CANARY}, "1"), lambda event, **fields: log.append(str(fields))
    )
    traces.start()
    began = time.perf_counter()
    for number in range(1000):
        traces.note(entry(id=f"tg-{number}"))
    noted = time.perf_counter() - began
    began = time.perf_counter()
    traces.stop()
    ended = time.perf_counter() - began
    close()
    assert traces._thread is not None
    traces._thread.join(60)
    logging.getLogger().removeHandler(library)
    assert noted < 1
    assert ended < PATIENCE + 1
    assert traces.dropped == 1000
    assert log == ["{'text': 'not sent: the receiver took no spans'}"]
