"""Make the senders of OTLP that a configuration asks for: of spans, metrics and log records."""

from collections.abc import Mapping

from gateway.core.target import Provider
from gateway.ledger.sinks.otlp_logs import CallLogSink
from gateway.settings.schema.root import Config, OtlpPart
from gateway.telemetry import tracing
from gateway.telemetry.log import Log
from gateway.telemetry.spans import ProviderAddress
from gateway.telemetry.tracing import Tracing

LOG_SINK_NAME = "OTLP"
"""The name of the sink of logs. Names in a configuration are in small letters."""


def make_tracing(
    config: Config, log: Log, info: Mapping[str, str], addresses: Mapping[str, ProviderAddress]
) -> Tracing | None:
    """Return what notes rows for spans and metrics; None without a receiver for either.

    Raises TraceError without the extra `otel`.
    """
    traces, otlp, version = config.traces, config.otlp, info.get("version", "")
    sender = meter = None
    if traces.endpoint:
        sender = tracing.make_otlp_sender(traces.endpoint, traces.headers, version, log)
    elif otlp.endpoint and "traces" in otlp.signals:
        sender = tracing.make_otlp_sender(otlp.endpoint, otlp.headers, version, log)
    if otlp.endpoint and "metrics" in otlp.signals:
        labels = {
            "key": config.metrics.keys,
            "team": config.metrics.teams,
            "tenant": config.metrics.tenants,
        }
        meter = tracing.make_otlp_meter(
            otlp.endpoint, otlp.headers, version, [name for name, used in labels.items() if used]
        )
    if sender is None and meter is None:
        return None
    return Tracing(sender, meter=meter, sample=traces.sample, addresses=addresses)


def make_log_sink(
    settings: OtlpPart, version: str, addresses: Mapping[str, ProviderAddress]
) -> CallLogSink:
    """Return the sink of log records. Raises TraceError without the extra `otel`."""
    sender = tracing.make_otlp_log_sender(settings.endpoint, settings.headers, version, addresses)
    return CallLogSink(LOG_SINK_NAME, sender)


def list_addresses(providers: Mapping[str, Provider]) -> dict[str, ProviderAddress]:
    """Return the address of each provider's first endpoint, by the provider's name."""
    urls = {name: next(iter(provider.urls.values()), "") for name, provider in providers.items()}
    return {name: address for name, url in urls.items() if (address := tracing.parse_address(url))}
