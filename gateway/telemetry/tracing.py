"""Traces: once a call has ended, its rows become spans.

A call costs notes in memory, and at its end the time to make its spans. OpenTelemetry's SDK batches
the spans and sends them on its own thread.
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
"""The most running calls; beyond that the gateway forgets the oldest."""
_TRACES_PATH = "/v1/traces"


class TraceError(Exception):
    """An error that says why traces are impossible, and what to do."""


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


class _OpenCall:
    """The rows of a running call so far, and its trace."""

    __slots__ = ("attempts", "intent", "operation", "origin")

    def __init__(self, origin: TraceOrigin, operation: str) -> None:
        self.origin = origin
        self.operation = operation
        self.attempts: tuple[AttemptRow, ...] = ()
        self.intent: IntentRow | None = None


class Tracing:
    """Notes rows and gives their spans to a sender. `sample` is the share of traces to keep.

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
        """Note, before its rows come, the facts about a call that no row has."""
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

    `endpoint` is a receiver's address, with or without the path for traces.
    """
    try:
        # These imports take 0.4 s, and few operators want traces.
        from gateway.telemetry.otel import Otlp  # noqa: PLC0415
    except ImportError:
        raise TraceError(
            "Traces need the extra otel: pip install 'tiergate[otel]', or unset traces.endpoint."
        ) from None
    return Otlp(build_traces_url(endpoint), headers, version, log)


def build_traces_url(endpoint: str) -> str:
    """Return the URL of a receiver of traces; `endpoint` may lack the path."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return parts._replace(
        path=path if path.endswith(_TRACES_PATH) else path + _TRACES_PATH
    ).geturl()


def parse_address(url: str) -> ProviderAddress | None:
    """Return the host and port of a URL; None if it has no host."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return ProviderAddress(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))
