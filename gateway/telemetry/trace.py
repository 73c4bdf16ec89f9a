"""Traces: the spans of calls, made after the fact on a thread of their own and sent by OTLP.

A call pays for notes in memory alone. What is sent is bounded in number and counted where it is
dropped, so that a receiver that is slow or down costs no call.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from gateway.core.entry import Attempt, Entry, Intent, Row
from gateway.telemetry.log import Log, where
from gateway.telemetry.span import Address, Origin, Span, Story, origin, spans, taken

MOST = 4096
"""Calls that wait to be sent; more are dropped."""
_OPEN = 16_384
"""Calls that are running at most; the oldest is forgotten for another."""
_BATCH = 256
"""Calls that are sent at once."""
EVERY = 1.0
"""Seconds between sendings."""
PATIENCE = 2.0
"""Seconds that an end waits for what is still to be sent."""
_TIMEOUT = 5.0
_PATH = "/v1/traces"


class TraceError(Exception):
    """Why there can be no traces, and what to do."""


class Sender(Protocol):
    """The way to a receiver."""

    def send(self, found: Sequence[Span]) -> bool:
        """Send spans; tell whether they were taken. May block for seconds."""
        ...

    def close(self) -> None:
        """Give up what is being tried; from another thread."""
        ...


class _Open:
    """What rows have told of a call that is running."""

    __slots__ = ("attempts", "intent", "operation", "origin")

    def __init__(self, origin: Origin, operation: str) -> None:
        self.origin = origin
        self.operation = operation
        self.attempts: tuple[Attempt, ...] = ()
        self.intent: Intent | None = None


class Traces:
    """Notes rows and sends what they tell. `sample` is the share of traces that is kept.

    `addresses` are those of the providers. `start` begins the thread that sends every `every`
    seconds, at most `most` calls waiting, and `stop` ends it within `PATIENCE` seconds.
    """

    def __init__(
        self,
        sender: Sender,
        log: Log,
        *,
        sample: float = 1.0,
        addresses: Mapping[str, Address] | None = None,
        most: int = MOST,
        every: float = EVERY,
    ) -> None:
        self._sender = sender
        self._log = log
        self._sample = sample
        self.addresses = addresses or {}
        """Addresses of the providers. A new configuration replaces them."""
        self._most = most
        self._every = every
        self._open: dict[str, _Open | None] = {}
        self._queue: deque[Story] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._down = False
        self._left = 0  # counted by who notes, and below by the thread that sends
        self._refused = 0

    @property
    def dropped(self) -> int:
        """Calls that were not sent: too many waited, the receiver took none, or the end came."""
        return self._left + self._refused

    def begin(self, call: str, operation: str, traceparent: str | None) -> None:
        """Note, before its rows come, what none of them tells of a call."""
        found = origin(call, traceparent)
        self._put(call, _Open(found, operation) if taken(found, self._sample) else None)

    def note(self, row: Row) -> None:
        """Note a row, on one thread."""
        if isinstance(row, Entry):
            self._end(row)
        elif isinstance(row, Intent):
            found = self._find(row.id)
            if found is not None:
                found.intent = row
        elif isinstance(row, Attempt):
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

    def _end(self, entry: Entry) -> None:
        found = self._find(entry.id)
        del self._open[entry.id]
        if found is None:
            return
        if len(self._queue) >= self._most or self._stop.is_set():
            self._left += 1
            return
        story = Story(entry, found.origin, found.operation, found.attempts, found.intent)
        self._queue.append(story)

    def start(self) -> None:
        """Begin to send; in the process that serves, as a fork has no threads of its parent's."""
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, and end; blocks for `PATIENCE` seconds at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)
        self._sender.close()
        self._left += len(self._taken(len(self._queue)))

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._every)
            while batch := self._taken(_BATCH):
                self._send(batch)

    def _taken(self, most: int) -> list[Story]:
        """Some of what waits; there are two who take."""
        found: list[Story] = []
        with suppress(IndexError):
            while len(found) < most:
                found.append(self._queue.popleft())
        return found

    def _send(self, stories: Sequence[Story]) -> None:
        try:
            found = [span for story in stories for span in spans(story, self.addresses)]
            taken, why = self._sender.send(found), "the receiver took no spans"
        except Exception as error:  # noqa: BLE001 - this thread must not end
            taken, why = False, where(error)
        if not taken:
            self._refused += len(stories)
        if self._down is taken:
            self._down = not taken
            self._log("traces", text="sent again" if taken else f"not sent: {why}")


def otlp(endpoint: str, headers: Mapping[str, str], version: str) -> Sender:
    """A sender by OTLP over HTTP. Raises TraceError without the extra `otel`.

    `endpoint` is a receiver's address, with or without the path of its traces.
    """
    try:
        # They take 0.4 s, and few want traces.
        from gateway.telemetry.otel import Otlp  # noqa: PLC0415
    except ImportError:
        raise TraceError(
            "Traces need the extra otel: pip install 'tiergate[otel]', or unset traces.endpoint."
        ) from None
    return Otlp(traces_url(endpoint), headers, version, _TIMEOUT)


def traces_url(endpoint: str) -> str:
    """Where a receiver takes traces: as its users write it, with the path or without."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()


def address(url: str) -> Address | None:
    """Host and port of a URL."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return Address(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))
