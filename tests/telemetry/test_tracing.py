"""Traces: the rows of a call become its spans, once the call has ended."""

import sys
from collections.abc import Sequence

import pytest

from gateway.core.ledger_rows import RepriceRow
from gateway.telemetry import tracing
from gateway.telemetry.log import ignore_event
from gateway.telemetry.spans import CallSpan, ProviderAddress
from gateway.telemetry.tracing import (
    TraceError,
    Tracing,
    build_signal_url,
    make_otlp_sender,
    parse_address,
)
from tests.telemetry.rows import AT, ID, attempt, entry, intent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class RecordingReceiver:
    """A receiver of the spans of calls."""

    dropped = 0

    def __init__(self) -> None:
        self.calls: list[Sequence[CallSpan]] = []

    def start(self) -> None: ...

    def send(self, call: Sequence[CallSpan]) -> None:
        self.calls.append(call)

    def stop(self) -> None: ...

    @property
    def names(self) -> list[list[str]]:
        return [[span.name for span in call] for call in self.calls]


def test_rows_of_a_call_become_spans() -> None:
    """The operation and the caller's trace come from outside the rows."""
    receiver = RecordingReceiver()
    traces = Tracing(receiver, addresses={"acme": ProviderAddress("api.acme.test", 443)})
    traces.begin(ID, "embeddings", PARENT)
    second = intent(attempt=2, at=AT + 0.3)
    for row in (intent(), attempt(), second, entry(attempts=2, tier=None)):
        traces.note(row)
    traces.note(RepriceRow(id=ID, at=AT, cost=None, price=None))
    assert receiver.names == [["embeddings able-1"] * 3]
    (call,) = receiver.calls
    assert [span.kind for span in call] == ["server", "client", "client"]
    assert call[0].parent_id == int("b7ad6b7169203331", 16)
    assert call[2].attributes["server.address"] == "api.acme.test"
    assert not traces._open_calls, "nothing is kept of a call that has ended"


def test_rows_alone_are_enough_for_spans() -> None:
    receiver = RecordingReceiver()
    traces = Tracing(receiver)
    for row in (attempt(), intent(attempt=2), entry()):
        traces.note(row)
    traces.note(entry(id="tg-other"))
    assert receiver.names == [["chat smart", "chat able-1", "chat able-1"], ["chat smart"]]


def test_a_call_outside_the_sample_is_forgotten() -> None:
    receiver = RecordingReceiver()
    traces = Tracing(receiver, sample=0.0)
    for row in (intent(), attempt(), entry()):
        traces.note(row)
    assert (receiver.calls, traces._open_calls) == ([], {})


def test_calls_that_never_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_MAX_OPEN_CALLS", 3)
    traces = Tracing(RecordingReceiver())
    for number in range(5):
        traces.note(intent(id=f"tg-{number}"))
    assert list(traces._open_calls) == ["tg-2", "tg-3", "tg-4"]


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
def test_the_endpoint_may_be_written_with_or_without_its_path(endpoint: str, url: str) -> None:
    assert build_signal_url(endpoint, "traces") == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.acme.test/v1/x", ProviderAddress("api.acme.test", 443)),
        ("http://127.0.0.1:8080/v1", ProviderAddress("127.0.0.1", 8080)),
        ("http://[::1]/v1", ProviderAddress("::1", 80)),
        ("", None),
    ],
)
def test_the_address_of_a_provider_is_read_from_its_url(
    url: str, expected: ProviderAddress | None
) -> None:
    assert parse_address(url) == expected


def test_without_the_extra_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gateway.telemetry.otel", None)
    with pytest.raises(TraceError, match=r"pip install 'tiergate\[otel\]'"):
        make_otlp_sender("http://127.0.0.1:4318", {}, "1", ignore_event)
