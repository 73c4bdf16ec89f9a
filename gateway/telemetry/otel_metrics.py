"""Metrics by OpenTelemetry (the extra `otel`): its periodic reader and OTLP exporter.

Names and buckets are those of the conventions for generative models. The SDK adds up in memory and
sends sums, so a receiver that is away for a while lacks no call afterwards.
"""

import secrets
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from gateway.core.ledger_rows import FinalRow
from gateway.telemetry.otel import (
    EXPORT_TIMEOUT_SECONDS,
    make_resource,
    make_session,
    run_briefly,
)
from gateway.telemetry.spans import CallSpan, SpanValue

SEND_INTERVAL_MILLIS = 60_000
"""Milliseconds between two sends."""
DURATION_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""Bounds of buckets in seconds, as the conventions advise: 0.01 to 81.92."""
TOKEN_BOUNDS = tuple(4**power for power in range(14))
"""Bounds of buckets in tokens, as the conventions advise: 1 to 67,108,864."""
_REQUEST_ATTRIBUTES = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "server.address",
    "server.port",
)
_TOKEN_TYPES = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
}


class OtlpMeter:
    """Measures the requests to providers and sends the sums to a URL by OTLP over HTTP.

    `labels` are fields of rows that become attributes, as `tiergate.key`.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], version: str, labels: Sequence[str] = ()
    ) -> None:
        self._url = url
        self._headers = dict(headers)
        self._version = version
        self._labels = ("lab", "tier", *labels)
        self._provider: MeterProvider | None = None

    def start(self) -> None:
        """Start to send, in the process that serves, since the reader starts a thread."""
        exporter = OTLPMetricExporter(
            endpoint=self._url,
            headers=self._headers,
            timeout=EXPORT_TIMEOUT_SECONDS,
            compression=Compression.NoCompression,
            session=make_session(),
        )
        reader = PeriodicExportingMetricReader(exporter, SEND_INTERVAL_MILLIS)
        # Each process has sums of its own: the receiver must not take them for one series.
        resource = make_resource(self._version, service_instance_id=secrets.token_hex(8))
        self._provider = MeterProvider(
            [reader],
            resource,
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("tiergate", self._version)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk of a stream.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
        )
        self._cost = meter.create_counter("tiergate.cost", "{USD}", "Cost of calls in USD.")
        self._calls = meter.create_counter("tiergate.calls", "{call}", "Calls, by their end.")

    def record(self, entry: FinalRow, spans: Sequence[CallSpan]) -> None:
        """Add the requests of a call to the sums; never blocks."""
        if self._provider is None:
            return
        labels: dict[str, SpanValue] = {
            f"tiergate.{name}": value for name in self._labels if (value := getattr(entry, name))
        }
        self._calls.add(1, {**labels, "tiergate.state": entry.state, "tiergate.cache": entry.cache})
        if entry.cost is not None:
            self._cost.add(float(entry.cost), labels)
        for span in spans:
            if span.kind == "client":
                self._record_request(span, labels)

    def stop(self) -> None:
        """Send the last sums, and stop; blocks for 2 seconds at most."""
        if self._provider is not None:
            run_briefly(self._provider.shutdown)

    def _record_request(self, span: CallSpan, labels: Mapping[str, SpanValue]) -> None:
        values = span.attributes
        attributes = {name: values[name] for name in _REQUEST_ATTRIBUTES if name in values}
        attributes |= labels
        for token_type, name in _TOKEN_TYPES.items():
            if name in values:
                token_attributes = {**attributes, "gen_ai.token.type": token_type}
                self._tokens.record(_read_number(values[name]), token_attributes)
        first_chunk = values.get("gen_ai.response.time_to_first_chunk")
        if first_chunk is not None:
            self._first_chunk.record(_read_number(first_chunk), attributes)
        if "error.type" in values:
            attributes["error.type"] = values["error.type"]
        self._duration.record(max(0.0, span.end - span.start), attributes)


def _read_number(value: SpanValue) -> float:
    return value if isinstance(value, int | float) else 0.0
