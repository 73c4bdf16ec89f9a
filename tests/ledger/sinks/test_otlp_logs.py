"""Test the sink of logs with a real receiver, one that is away, and one that refuses."""

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bench.free_port import find_free_port
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.errors import SinkError
from gateway.ledger.sinks.otlp_logs import CallLogSink
from gateway.pipeline.otlp import make_log_sink
from gateway.settings.schema.root import OtlpPart
from gateway.telemetry.spans import ProviderAddress
from gateway.telemetry.tracing import TraceError
from tests.ledger.rows import sealed
from tests.telemetry.rows import AT, CANARY, entry, hit, intent, refused
from tests.telemetry.tap import TraceReceiver, read_attributes


@pytest.fixture
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReceiver]:
    receiver = TraceReceiver(tmp_path_factory.mktemp("tap"))
    yield receiver
    receiver.child.stop()


def make_sink(url: str) -> CallLogSink:
    settings = OtlpPart(endpoint=url, headers={"x-collector-key": CANARY})
    return make_log_sink(settings, "1.2.3", {"acme": ProviderAddress("api.acme.test", 443)})


def write_journal(folder: Path, *rows: FinalRow) -> None:
    (folder / "1.sealed.jsonl").write_bytes(
        sealed(*(line for row in rows for line in (intent(id=row.id), row)))
    )


def test_a_receiver_gets_a_record_for_each_call(tmp_path: Path, tap: TraceReceiver) -> None:
    answered = entry(
        conversation="c1", response_id="resp-1", team="web", confidence=0.5, end_user="u1"
    )
    embedded = entry(id="tg-embed", basis=DecisionRecord(operation="embeddings"), stream=False)
    failed = entry(id="tg-failed", state="failed", status=502, problem="upstream_error", cost=None)
    write_journal(tmp_path, answered, embedded, failed, hit(id="tg-hit"), refused(id="tg-refused"))
    sink = make_sink(tap.url)
    sink.feed(tmp_path)
    sink.feed(tmp_path)
    sink.close()
    records = tap.logs(5)
    assert len(records) == 5
    first = records[0]
    assert first["eventName"] == "gen_ai.client.inference.operation.details"
    assert int(first["timeUnixNano"]) == pytest.approx((AT + 1.5) * 1e9, abs=1000)
    assert read_attributes(first) == {
        "log.record.uid": answered.id,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "able-1",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "c1",
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.model": "able-1-0924",
        "gen_ai.usage.input_tokens": "150",
        "gen_ai.usage.cache_read.input_tokens": "40",
        "gen_ai.usage.cache_creation.input_tokens": "10",
        "gen_ai.usage.output_tokens": "27",
        "gen_ai.usage.reasoning.output_tokens": "7",
        "http.response.status_code": "200",
        "server.address": "api.acme.test",
        "server.port": "443",
        "tiergate.call.id": answered.id,
        "tiergate.key": "website",
        "tiergate.team": "web",
        "tiergate.tenant": "shop",
        "tiergate.dialect": "openai-chat",
        "tiergate.stream": True,
        "tiergate.state": "settled",
        "tiergate.lab": "acme",
        "tiergate.tier": "smart",
        "tiergate.source": "rule",
        "tiergate.rule": "short",
        "tiergate.confidence": 0.5,
        "tiergate.provider": "acme",
        "tiergate.model": "able-1",
        "tiergate.attempts": "1",
        "tiergate.cache": "miss",
        "tiergate.tags": {"values": [{"stringValue": "web"}]},
        "tiergate.usage": "provider",
        "tiergate.cost_usd": 0.0012,
        "tiergate.wasted_usd": 0,
        "tiergate.baseline_usd": 0.02,
        "tiergate.first_content_seconds": 0.4,
        "tiergate.config": "c0ffee",
    }
    assert [record["severityText"] for record in records] == [
        "INFO",
        "INFO",
        "ERROR",
        "INFO",
        "INFO",
    ]
    attributes = [read_attributes(record) for record in records]
    assert attributes[1]["gen_ai.operation.name"] == "embeddings"
    assert attributes[2]["error.type"] == "upstream_error"
    assert "gen_ai.usage.input_tokens" not in attributes[3], "nobody counted its tokens again"
    assert "gen_ai.provider.name" not in attributes[4]
    assert CANARY not in tap.child.out
    assert "u1" not in str(attributes)


def test_a_receiver_that_was_away_gets_all_records(tmp_path: Path, tap: TraceReceiver) -> None:
    port = find_free_port()
    write_journal(tmp_path, *(entry(id=f"tg-{number}") for number in range(1500)))
    with pytest.raises(
        SinkError, match=r"the receiver of logs does not answer \(ConnectionError\)"
    ):
        make_sink(f"http://127.0.0.1:{port}").feed(tmp_path)
    make_sink(tap.url).feed(tmp_path)
    assert len(tap.logs(1500)) == 1500


class RefusingHandler(BaseHTTPRequestHandler):
    status = 503

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("location", "http://127.0.0.1:9/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.mark.parametrize("status", [302, 401, 503])
def test_records_that_a_receiver_refused_come_again(tmp_path: Path, status: int) -> None:
    RefusingHandler.status = status
    server = ThreadingHTTPServer(("127.0.0.1", 0), RefusingHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    sink = make_sink(f"http://127.0.0.1:{server.server_port}")
    write_journal(tmp_path, entry())
    with pytest.raises(SinkError, match=f"the receiver of logs answers {status}"):
        sink.check()
    with pytest.raises(SinkError) as raised:
        sink.feed(tmp_path)
    assert CANARY not in str(raised.value)
    server.shutdown()
    server.server_close()
    assert sink.read_offsets(tmp_path) == {}


def test_a_batch_without_calls_is_not_sent(tmp_path: Path) -> None:
    sink = make_sink("http://127.0.0.1:9")
    (tmp_path / "1.sealed.jsonl").write_bytes(sealed(intent()))
    assert sink.feed(tmp_path) == 1
    sink.erase_user(tmp_path, "u1")


def test_the_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.telemetry.otel_logs", None)
    with pytest.raises(TraceError, match=r"pip install 'tiergate\[otel\]'"):
        make_sink("http://127.0.0.1:4318")
