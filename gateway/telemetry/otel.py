"""The one door to OpenTelemetry: our spans as its SDK's, sent by its exporter; the extra `otel`."""

import logging
from collections.abc import Mapping, Sequence

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from gateway.telemetry.span import Span

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_NANO = 1_000_000_000


class Otlp:
    """Sends spans to a URL by OTLP over HTTP, protobuf; an attempt has `timeout` seconds."""

    def __init__(self, url: str, headers: Mapping[str, str], version: str, timeout: float) -> None:
        # It would warn at each try; what fails is told once by whoever sends.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        session = requests.Session()
        session.trust_env = False  # no proxy and no password of the environment, or of ~/.netrc
        self._exporter = OTLPSpanExporter(
            endpoint=url,
            headers=dict(headers),
            timeout=timeout,
            compression=Compression.NoCompression,
            session=session,
        )
        self._resource = Resource.create({"service.name": "tiergate", "service.version": version})
        self._scope = InstrumentationScope("tiergate", version)

    def send(self, found: Sequence[Span]) -> bool:
        """Send spans; tell whether they were taken."""
        made = [self._made(span) for span in found]
        return self._exporter.export(made) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Give up what is being tried."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it says no types

    def _made(self, span: Span) -> ReadableSpan:
        parent = span.parent
        return ReadableSpan(
            name=span.name,
            context=SpanContext(span.trace, span.id, is_remote=False, trace_flags=_SAMPLED),
            parent=None
            if parent is None
            else SpanContext(
                span.trace, parent, is_remote=span.kind == "server", trace_flags=_SAMPLED
            ),
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=int(span.begin * _NANO),
            end_time=int(span.end * _NANO),
        )
