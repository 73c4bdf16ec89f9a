"""Test what a configuration sends by OTLP, and where."""

from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.sinks.otlp_logs import CallLogSink
from gateway.pipeline import otlp
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.settings.schema.root import Config
from gateway.telemetry import tracing
from gateway.telemetry.log import ignore_event
from gateway.telemetry.spans import ProviderAddress

HERE, THERE = "http://here:4318", "http://there:4318"


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, {}),
        ({"traces": {"endpoint": HERE}}, {"traces": HERE}),
        ({"otlp": {"endpoint": HERE}}, {"traces": HERE, "metrics": HERE, "logs": HERE}),
        ({"otlp": {"endpoint": HERE, "signals": "logs"}}, {"logs": HERE}),
        ({"otlp": {"endpoint": HERE, "signals": ["metrics"]}}, {"metrics": HERE}),
        (
            {"otlp": {"endpoint": HERE}, "traces": {"endpoint": THERE}},
            {"traces": THERE, "metrics": HERE, "logs": HERE},
        ),
    ],
)
def test_each_signal_goes_where_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], sent: dict[str, str]
) -> None:
    opened: dict[str, str] = {}

    def make(signal: str) -> Any:
        def open_it(endpoint: str, headers: object, version: str, *_: object) -> Any:
            opened[signal] = endpoint
            return None if signal == "logs" else SilentPart()

        return open_it

    monkeypatch.setattr(tracing, "make_otlp_sender", make("traces"))
    monkeypatch.setattr(tracing, "make_otlp_meter", make("metrics"))
    monkeypatch.setattr(tracing, "make_otlp_log_sender", make("logs"))
    monkeypatch.setattr(CallLogSink, "close", lambda _: None)
    config = Config.model_validate({"version": 1, **settings})
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    runtime = LedgerRuntime(config, tmp_path, ignore_event, url=url, info={}, providers={})
    assert opened == sent
    assert (runtime.traces is not None) is bool(sent.keys() & {"traces", "metrics"})
    text = runtime.metrics.render()[0].decode()
    assert ("tiergate_traces_dropped" in text) is ("traces" in sent)
    runtime.metrics.refresh()
    text = runtime.metrics.render()[0].decode()
    assert ('tiergate_ledger_sink_failures{sink="OTLP"}' in text) is ("logs" in sent)
    runtime.close()


class SilentPart:
    """Takes spans and calls, and sends nothing."""

    dropped = 0

    def stop(self) -> None: ...


def test_only_labels_of_the_metrics_become_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr(tracing, "make_otlp_meter", lambda *arguments: labels.extend(arguments[3]))
    settings = {"endpoint": HERE, "signals": "metrics"}
    for metrics in ({}, {"keys": True, "teams": True, "tenants": True}):
        config = Config.model_validate({"version": 1, "otlp": settings, "metrics": metrics})
        otlp.make_tracing(config, ignore_event, {}, {})
    assert labels == ["key", "team", "tenant"]


def test_addresses_of_a_later_configuration_reach_spans() -> None:
    addresses: dict[str, ProviderAddress] = {}
    config = Config.model_validate({"version": 1, "otlp": {"endpoint": HERE, "signals": "traces"}})
    tracing_of_calls = otlp.make_tracing(config, ignore_event, {}, addresses)
    assert tracing_of_calls is not None
    addresses["acme"] = ProviderAddress("api.acme.test", 443)
    assert tracing_of_calls.addresses == addresses
