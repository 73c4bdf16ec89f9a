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
    origin,
    spans,
    taken,
)

_OPEN = 16_384
"""Calls that are running at most; the oldest is forgotten for another."""
_PATH = "/v1/traces"


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


class _Open:
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
        self._open: dict[str, _Open | None] = {}

    def begin(self, call: str, operation: str, traceparent: str | None) -> None:
        """Note, before its rows come, what none of them tells of a call."""
        found = origin(call, traceparent)
        self._put(call, _Open(found, operation) if taken(found, self._sample) else None)

    def note(self, row: Row) -> None:
        """Note a row, on one thread."""
        if isinstance(row, FinalRow):
            self._end(row)
        elif isinstance(row, IntentRow):
            found = self._find(row.id)
            if found is not None:
                found.intent = row
        elif isinstance(row, AttemptRow):
            found = self._find(row.id)
            if found is not None:
                found.attempts += (row,)

    def _find(self, call: str) -> _Open | None:
        if call not in self._open:
            self.begin(call, "generate", None)
        return self._open[call]

    def _put(self, call: str, found: _Open | None) -> None:
        if len(self._open) >= _OPEN:
            del self._open[next(iter(self._open))]
        self._open[call] = found

    def _end(self, entry: FinalRow) -> None:
        found = self._find(entry.id)
        del self._open[entry.id]
        if found is not None:
            story = CallRows(entry, found.origin, found.operation, found.attempts, found.intent)
            self.sender.send([*spans(story, self.addresses)])


def otlp(endpoint: str, headers: Mapping[str, str], version: str, log: Log) -> Sender:
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
    return Otlp(traces_url(endpoint), headers, version, log)


def traces_url(endpoint: str) -> str:
    """Where a receiver takes traces: as its users write it, with the path or without."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()


def address(url: str) -> ProviderAddress | None:
    """Host and port of a URL."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return ProviderAddress(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))
