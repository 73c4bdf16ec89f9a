"""Metrics by OTLP, to a real receiver in its own process."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.telemetry.otel_metrics import DURATION_BOUNDS, TOKEN_BOUNDS
from gateway.telemetry.spans import ProviderAddress
from gateway.telemetry.tracing import TraceError, Tracing, make_otlp_meter
from tests.telemetry.rows import AT, CANARY, attempt, entry, hit, intent
from tests.telemetry.tap import TraceReceiver, read_attributes


@pytest.fixture
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReceiver]:
    receiver = TraceReceiver(tmp_path_factory.mktemp("tap"))
    yield receiver
    receiver.child.stop()


def read_points(metric: dict[str, Any]) -> list[dict[str, Any]]:
    return next(
        metric[kind]["dataPoints"] for kind in ("histogram", "sum", "gauge") if kind in metric
    )


def test_a_receiver_gets_the_sums_of_all_requests(tap: TraceReceiver) -> None:
    """Each request to a provider counts, with its tokens, also outside of the sample of traces."""
    meter = make_otlp_meter(tap.url, {"x-collector-key": CANARY}, "1.2.3", ["key"])
    tracing = Tracing(None, meter=meter, addresses={"acme": ProviderAddress("api.acme.test", 443)})
    tracing.start()
    second = intent(attempt=2, at=AT + 0.25)
    for row in (intent(), attempt(), second, entry(attempts=2), hit(id="tg-hit", cost=None)):
        tracing.note(row)
    tracing.stop()
    metrics = tap.metrics(5)

    (answered, failed) = sorted(
        read_points(metrics["gen_ai.client.operation.duration"]), key=lambda point: -point["sum"]
    )
    assert (answered["count"], answered["sum"]) == ("1", pytest.approx(1.25))
    assert answered["explicitBounds"] == pytest.approx(DURATION_BOUNDS)
    assert read_attributes(answered) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "able-1",
        "gen_ai.response.model": "able-1-0924",
        "server.address": "api.acme.test",
        "server.port": "443",
        "tiergate.lab": "acme",
        "tiergate.tier": "smart",
        "tiergate.key": "website",
    }
    assert read_attributes(failed)["error.type"] == "upstream_overloaded"
    tokens = {
        read_attributes(point)["gen_ai.token.type"]: point
        for point in read_points(metrics["gen_ai.client.token.usage"])
    }
    assert {name: point["sum"] for name, point in tokens.items()} == {"input": 150, "output": 27}
    assert tokens["input"]["explicitBounds"] == list(TOKEN_BOUNDS)
    (first_chunk,) = read_points(metrics["gen_ai.client.operation.time_to_first_chunk"])
    assert first_chunk["sum"] == pytest.approx(0.15)
    (cost,) = read_points(metrics["tiergate.cost"])
    assert cost["asDouble"] == 0.0012
    calls = [read_attributes(point) for point in read_points(metrics["tiergate.calls"])]
    assert sorted(call["tiergate.state"] for call in calls) == ["cache_hit", "settled"]
    assert CANARY not in tap.child.out


def test_a_meter_that_has_not_started_counts_nothing() -> None:
    tracing = Tracing(None, meter=make_otlp_meter("http://127.0.0.1:9", {}, "1"))
    tracing.note(entry())
    tracing.stop()


def test_without_the_extra_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gateway.telemetry.otel_metrics", None)
    with pytest.raises(TraceError, match=r"pip install 'tiergate\[otel\]', or unset the endpoint"):
        make_otlp_meter("http://127.0.0.1:4318", {}, "1")
