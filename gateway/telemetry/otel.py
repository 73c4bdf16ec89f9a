"""Spans by OpenTelemetry (the extra `otel`): its batch processor and OTLP exporter.

The processor keeps spans in memory and exports them in batches on its own thread. If its queue is
full, this module drops whole calls, so that it can count each one.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from gateway.telemetry.log import Log
from gateway.telemetry.spans import CallSpan

MAX_QUEUED_SPANS = 8192
"""The most spans that wait to be sent."""
_BATCH_SPANS = 512
"""The most spans in one batch."""
STOP_TIMEOUT_SECONDS = 2.0
"""Seconds that `stop` waits for unsent spans."""
_BATCH_INTERVAL_MILLIS = 1000
"""Milliseconds between batches; a full batch leaves at once."""
EXPORT_TIMEOUT_SECONDS = 5.0
"""Seconds that the exporter tries to send a batch."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_NANOS_PER_SECOND = 1_000_000_000


def make_session() -> requests.Session:
    """Make an HTTP session for an exporter."""
    # The exporter would warn at each try; the gateway logs a failure once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    session = requests.Session()
    session.trust_env = False  # no proxy or password from the environment or ~/.netrc
    return session


def make_resource(version: str, **attributes: str) -> Resource:
    """Make the description of this gateway, with more attributes."""
    names = {name.replace("_", "."): value for name, value in attributes.items()}
    return Resource.create({"service.name": "tiergate", "service.version": version, **names})


def run_briefly(work: Callable[[], object]) -> None:
    """Run work in a thread, and wait for it for `STOP_TIMEOUT_SECONDS` seconds at most."""
    thread = threading.Thread(target=work, name="otlp", daemon=True)
    thread.start()
    thread.join(STOP_TIMEOUT_SECONDS)


class _CountingExporter(SpanExporter):
    """An exporter that counts sent calls, and logs when the receiver takes no spans."""

    def __init__(self, exporter: SpanExporter, log: Log) -> None:
        self._exporter = exporter
        self._log = log
        self._is_down = False
        # Only the processor's thread writes these.
        self.dequeued_spans = 0
        """Spans that have left the processor's queue."""
        self.sent_calls = 0
        """Calls that were sent."""
        self.lost_calls = 0
        """Calls that the receiver did not take."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        self.dequeued_spans += len(spans)
        result = self._exporter.export(spans)
        succeeded = result is SpanExportResult.SUCCESS
        calls = sum(span.kind is SpanKind.SERVER for span in spans)
        self.sent_calls += calls if succeeded else 0
        self.lost_calls += 0 if succeeded else calls
        if self._is_down is succeeded:
            self._is_down = not succeeded
            self._log(
                "traces", text="sent again" if succeeded else "not sent: the receiver took no spans"
            )
        return result

    def shutdown(self) -> None:
        """Cancel the export that runs, from another thread."""
        self._exporter.shutdown()


class Otlp:
    """Sends spans to a URL by OTLP over HTTP, protobuf."""

    def __init__(self, url: str, headers: Mapping[str, str], version: str, log: Log) -> None:
        exporter = OTLPSpanExporter(
            endpoint=url,
            headers=dict(headers),
            timeout=EXPORT_TIMEOUT_SECONDS,
            compression=Compression.NoCompression,
            session=make_session(),
        )
        self._exporter = _CountingExporter(exporter, log)
        self._processor: BatchSpanProcessor | None = None
        self._span_count = self._call_count = 0  # given to the processor
        self._refused_calls = 0  # calls that found the queue full
        self._is_stopped = False
        self._resource = make_resource(version)
        self._scope = InstrumentationScope("tiergate", version)

    @property
    def dropped(self) -> int:
        """Return the number of unsent calls.

        The queue was full, the receiver took no spans, or the process stopped first.
        """
        exporter = self._exporter
        return self._refused_calls + (
            self._call_count - exporter.sent_calls if self._is_stopped else exporter.lost_calls
        )

    def start(self) -> None:
        """Start to send, in the process that serves, since the processor starts a thread."""
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=MAX_QUEUED_SPANS,
            max_export_batch_size=_BATCH_SPANS,
            schedule_delay_millis=_BATCH_INTERVAL_MILLIS,
        )

    def send(self, call: Sequence[CallSpan]) -> None:
        """Take the spans of one call; never blocks."""
        queued_spans = self._span_count - self._exporter.dequeued_spans
        if self._processor is None or queued_spans + len(call) > MAX_QUEUED_SPANS:
            self._refused_calls += 1
            return
        readable_spans = [self._convert_span(span) for span in call]
        self._call_count += 1
        self._span_count += len(readable_spans)
        for span in readable_spans:
            self._processor.on_end(span)

    def stop(self) -> None:
        """Send what waits, and stop; blocks for `STOP_TIMEOUT_SECONDS` seconds at most."""
        if self._processor is not None:
            # The processor's own shutdown waits up to 30 s for a slow receiver.
            run_briefly(self._processor.shutdown)
        self._exporter.shutdown()
        self._is_stopped = True

    def _convert_span(self, span: CallSpan) -> ReadableSpan:
        parent = span.parent_id
        return ReadableSpan(
            name=span.name,
            context=SpanContext(span.trace_id, span.id, is_remote=False, trace_flags=_SAMPLED),
            parent=None
            if parent is None
            else SpanContext(
                span.trace_id, parent, is_remote=span.kind == "server", trace_flags=_SAMPLED
            ),
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=int(span.start * _NANOS_PER_SECOND),
            end_time=int(span.end * _NANOS_PER_SECOND),
        )
