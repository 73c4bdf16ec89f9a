"""Traces and metrics by OTLP: once a call has ended, its rows become spans, and are measured.

A call costs notes in memory, and at its end the time to make its spans. OpenTelemetry's SDK batches
spans and adds up metrics, and sends both on threads of its own.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow, Row
from gateway.telemetry.log import Log
from gateway.telemetry.spans import (
    CallRows,
    CallSpan,
    ProviderAddress,
    TraceOrigin,
    build_spans,
    find_origin,
    is_in_sample,
)

_MAX_OPEN_CALLS = 16_384
"""The most running calls; beyond that the gateway forgets the oldest."""
if TYPE_CHECKING:
    from gateway.telemetry.otel_logs import OtlpLogSender

type Signal = Literal["traces", "metrics", "logs"]
"""A kind of data that OTLP carries."""


class TraceError(Exception):
    """An error that says why OTLP is impossible, and what to do."""


class Sender(Protocol):
    """A connection to a receiver of traces."""

    @property
    def dropped(self) -> int:
        """Return the number of calls whose spans were not sent."""
        ...

    def start(self) -> None:
        """Start to send, in the process that serves."""
        ...

    def send(self, call: Sequence[CallSpan]) -> None:
        """Take the spans of one call, to send them soon; never blocks."""
        ...

    def stop(self) -> None:
        """Send what waits, and stop; blocks for a few seconds at most."""
        ...


class CallMeter(Protocol):
    """A connection to a receiver of metrics."""

    def start(self) -> None:
        """Start to send, in the process that serves."""
        ...

    def record(self, entry: FinalRow, spans: Sequence[CallSpan]) -> None:
        """Add the requests of a call to the sums; never blocks."""
        ...

    def stop(self) -> None:
        """Send the last sums, and stop; blocks for a few seconds at most."""
        ...


class _OpenCall:
    """The rows of a running call so far, and its trace."""

    __slots__ = ("attempts", "intent", "is_in_sample", "operation", "origin")

    def __init__(self, origin: TraceOrigin, operation: str, *, is_in_sample: bool) -> None:
        self.origin = origin
        self.operation = operation
        self.is_in_sample = is_in_sample
        self.attempts: tuple[AttemptRow, ...] = ()
        self.intent: IntentRow | None = None


class Tracing:
    """Notes rows, and gives their spans to a sender and a meter; either may be None.

    `sample` is the share of traces to send; a meter gets all calls. `addresses` are those of the
    providers; more may come.
    """

    def __init__(
        self,
        sender: Sender | None,
        *,
        meter: CallMeter | None = None,
        sample: float = 1.0,
        addresses: Mapping[str, ProviderAddress] | None = None,
    ) -> None:
        self.sender = sender
        self._meter = meter
        self._sample = sample if sender is not None else 0.0
        self.addresses = {} if addresses is None else addresses
        self._open_calls: dict[str, _OpenCall | None] = {}

    def start(self) -> None:
        """Start to send, in the process that serves."""
        for part in (self.sender, self._meter):
            if part is not None:
                part.start()

    def stop(self) -> None:
        """Send what waits, and stop; blocks for a few seconds at most."""
        for part in (self.sender, self._meter):
            if part is not None:
                part.stop()

    def begin(self, call: str, operation: str, traceparent: str | None) -> None:
        """Note, before its rows come, the facts about a call that no row has."""
        trace_origin = find_origin(call, traceparent)
        in_sample = is_in_sample(trace_origin, self._sample)
        self._add_call(
            call,
            _OpenCall(trace_origin, operation, is_in_sample=in_sample)
            if in_sample or self._meter is not None
            else None,
        )

    def note(self, row: Row) -> None:
        """Note a row, on one thread."""
        if isinstance(row, FinalRow):
            self._end_call(row)
        elif isinstance(row, IntentRow):
            open_call = self._find_call(row.id)
            if open_call is not None:
                open_call.intent = row
        elif isinstance(row, AttemptRow):
            open_call = self._find_call(row.id)
            if open_call is not None:
                open_call.attempts += (row,)

    def _find_call(self, call: str) -> _OpenCall | None:
        if call not in self._open_calls:
            self.begin(call, "generate", None)
        return self._open_calls[call]

    def _add_call(self, call: str, open_call: _OpenCall | None) -> None:
        if len(self._open_calls) >= _MAX_OPEN_CALLS:
            del self._open_calls[next(iter(self._open_calls))]
        self._open_calls[call] = open_call

    def _end_call(self, entry: FinalRow) -> None:
        open_call = self._find_call(entry.id)
        del self._open_calls[entry.id]
        if open_call is not None:
            call_rows = CallRows(
                entry, open_call.origin, open_call.operation, open_call.attempts, open_call.intent
            )
            spans = [*build_spans(call_rows, self.addresses)]
            if self.sender is not None and open_call.is_in_sample:
                self.sender.send(spans)
            if self._meter is not None:
                self._meter.record(entry, spans)


def make_otlp_sender(endpoint: str, headers: Mapping[str, str], version: str, log: Log) -> Sender:
    """Make a sender by OTLP over HTTP. Raises TraceError without the extra `otel`.

    `endpoint` is a receiver's address, with or without the path for traces.
    """
    try:
        # These imports take 0.4 s, and few operators want traces.
        from gateway.telemetry.otel import Otlp  # noqa: PLC0415
    except ImportError:
        raise TraceError(_MISSING_EXTRA) from None
    return Otlp(build_signal_url(endpoint, "traces"), headers, version, log)


def make_otlp_meter(
    endpoint: str, headers: Mapping[str, str], version: str, labels: Sequence[str] = ()
) -> CallMeter:
    """Make a meter by OTLP over HTTP. Raises TraceError without the extra `otel`.

    `labels` are those fields of rows that become attributes beside the usual ones.
    """
    try:
        from gateway.telemetry.otel_metrics import OtlpMeter  # noqa: PLC0415 - as above
    except ImportError:
        raise TraceError(_MISSING_EXTRA) from None
    return OtlpMeter(build_signal_url(endpoint, "metrics"), headers, version, labels)


def make_otlp_log_sender(
    endpoint: str,
    headers: Mapping[str, str],
    version: str,
    addresses: Mapping[str, ProviderAddress],
) -> "OtlpLogSender":
    """Make a sender of log records by OTLP. Raises TraceError without the extra `otel`."""
    try:
        from gateway.telemetry.otel_logs import OtlpLogSender  # noqa: PLC0415 - as above
    except ImportError:
        raise TraceError(_MISSING_EXTRA) from None
    return OtlpLogSender(build_signal_url(endpoint, "logs"), headers, version, addresses)


_MISSING_EXTRA = "OTLP needs the extra otel: pip install 'tiergate[otel]', or unset the endpoint."


def build_signal_url(endpoint: str, signal: Signal) -> str:
    """Return the URL for a signal at a receiver; `endpoint` may have its path already."""
    parts = urlsplit(endpoint)
    path, signal_path = parts.path.rstrip("/"), f"/v1/{signal}"
    return parts._replace(path=path if path.endswith(signal_path) else path + signal_path).geturl()


def parse_address(url: str) -> ProviderAddress | None:
    """Return the host and port of a URL; None if it has no host."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return ProviderAddress(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))
