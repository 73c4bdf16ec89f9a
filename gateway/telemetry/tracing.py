"""Traces: what the rows of a call tell, as spans once it has ended.

A call pays for notes in memory, and at its end for the making of its spans. OpenTelemetry's SDK
batches them and sends them on a thread of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol
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
"""Calls that are running at most; the oldest is forgotten for another."""
_TRACES_PATH = "/v1/traces"


class TraceError(Exception):
    """Why there can be no traces, and what to do."""


class Sender(Protocol):
    """The way to a receiver."""

    @property
    def dropped(self) -> int:
        """Calls whose spans were not sent."""
        ...

    def start(self) -> None:
        """Begin to send, in the process that serves."""
        ...

    def send(self, call: Sequence[CallSpan]) -> None:
        """Take the spans of one call, to be sent soon; never blocks."""
        ...

    def stop(self) -> None:
        """Send what waits, and end; blocks for a few seconds at most."""
        ...


class _OpenCall:
    """What rows have told of a call that is running."""

    __slots__ = ("attempts", "intent", "operation", "origin")

    def __init__(self, origin: TraceOrigin, operation: str) -> None:
        self.origin = origin
        self.operation = operation
        self.attempts: tuple[AttemptRow, ...] = ()
        self.intent: IntentRow | None = None


class Tracing:
    """Notes rows and hands their spans to a sender. `sample` is the share of traces that is kept.

    `addresses` are those of the providers.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        sample: float = 1.0,
        addresses: Mapping[str, ProviderAddress] | None = None,
    ) -> None:
        self.sender = sender
        self._sample = sample
        self.addresses = addresses or {}
        """Addresses of the providers. A new configuration replaces them."""
        self._open_calls: dict[str, _OpenCall | None] = {}

    def begin(self, call: str, operation: str, traceparent: str | None) -> None:
        """Note, before its rows come, what none of them tells of a call."""
        trace_origin = find_origin(call, traceparent)
        self._add_call(
            call,
            _OpenCall(trace_origin, operation)
            if is_in_sample(trace_origin, self._sample)
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
            self.sender.send([*build_spans(call_rows, self.addresses)])


def make_otlp_sender(endpoint: str, headers: Mapping[str, str], version: str, log: Log) -> Sender:
    """Make a sender by OTLP over HTTP. Raises TraceError without the extra `otel`.

    `endpoint` is a receiver's address, with or without the path of its traces.
    """
    try:
        # They take 0.4 s, and few want traces.
        from gateway.telemetry.otel import Otlp  # noqa: PLC0415
    except ImportError:
        raise TraceError(
            "Traces need the extra otel: pip install 'tiergate[otel]', or unset traces.endpoint."
        ) from None
    return Otlp(build_traces_url(endpoint), headers, version, log)


def build_traces_url(endpoint: str) -> str:
    """Where a receiver takes traces: as its users write it, with the path or without."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return parts._replace(
        path=path if path.endswith(_TRACES_PATH) else path + _TRACES_PATH
    ).geturl()


def parse_address(url: str) -> ProviderAddress | None:
    """Host and port of a URL."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return ProviderAddress(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))
