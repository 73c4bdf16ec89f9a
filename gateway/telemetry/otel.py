"""The one door to OpenTelemetry (the extra `otel`): its batch processor and its OTLP exporter.

The processor keeps spans in memory and exports them in batches on a thread of its own. Spans
beyond its queue's size are dropped here, whole calls at a time, so that each is counted.
"""

import logging
import threading
from collections.abc import Mapping, Sequence

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

MOST = 8192
"""Spans that wait to be sent."""
_BATCH = 512
"""Spans that are sent at once."""
PATIENCE = 2.0
"""Seconds that an end waits for what is still to be sent."""
_EVERY = 1000
"""Milliseconds between batches; a full one leaves at once."""
_TIMEOUT = 5.0
"""Seconds that the exporter tries to send a batch."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_NANO = 1_000_000_000


class _Counted(SpanExporter):
    """An exporter that counts what was sent, and tells when a receiver takes no spans."""

    def __init__(self, exporter: SpanExporter, log: Log) -> None:
        self._exporter = exporter
        self._log = log
        self._down = False
        # Written by the processor's thread alone.
        self.begun = 0
        """Spans that have left the processor's queue."""
        self.sent = 0
        """Calls that were sent."""
        self.lost = 0
        """Calls that the receiver did not take."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        self.begun += len(spans)
        result = self._exporter.export(spans)
        taken = result is SpanExportResult.SUCCESS
        calls = sum(span.kind is SpanKind.SERVER for span in spans)
        self.sent += calls if taken else 0
        self.lost += 0 if taken else calls
        if self._down is taken:
            self._down = not taken
            self._log(
                "traces", text="sent again" if taken else "not sent: the receiver took no spans"
            )
        return result

    def shutdown(self) -> None:
        """Give up what is being tried; from another thread."""
        self._exporter.shutdown()


class Otlp:
    """Sends spans to a URL by OTLP over HTTP, protobuf."""

    def __init__(self, url: str, headers: Mapping[str, str], version: str, log: Log) -> None:
        # It would warn at each try; `_Counted` tells once of what fails.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        session = requests.Session()
        session.trust_env = False  # no proxy and no password of the environment, or of ~/.netrc
        exporter = OTLPSpanExporter(
            endpoint=url,
            headers=dict(headers),
            timeout=_TIMEOUT,
            compression=Compression.NoCompression,
            session=session,
        )
        self._exporter = _Counted(exporter, log)
        self._processor: BatchSpanProcessor | None = None
        self._spans = self._calls = 0  # that the processor was given
        self._full = 0  # calls that found no place
        self._over = False
        self._resource = Resource.create({"service.name": "tiergate", "service.version": version})
        self._scope = InstrumentationScope("tiergate", version)

    @property
    def dropped(self) -> int:
        """Calls that were not sent: too many waited, the receiver took none, or the end came."""
        exporter = self._exporter
        return self._full + (self._calls - exporter.sent if self._over else exporter.lost)

    def start(self) -> None:
        """Begin to send; in the process that serves, since the processor begins a thread."""
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=MOST,
            max_export_batch_size=_BATCH,
            schedule_delay_millis=_EVERY,
        )

    def send(self, call: Sequence[CallSpan]) -> None:
        """Take the spans of one call; never blocks."""
        waiting = self._spans - self._exporter.begun
        if self._processor is None or waiting + len(call) > MOST:
            self._full += 1
            return
        made = [self._made(span) for span in call]
        self._calls += 1
        self._spans += len(made)
        for span in made:
            self._processor.on_end(span)

    def stop(self) -> None:
        """Send what waits, and end; blocks for `PATIENCE` seconds at most."""
        if self._processor is not None:
            # The processor's own shutdown waits up to 30 s for a receiver that is slow.
            ending = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
            ending.start()
            ending.join(PATIENCE)
        self._exporter.shutdown()
        self._over = True

    def _made(self, span: CallSpan) -> ReadableSpan:
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
