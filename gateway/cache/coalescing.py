"""Coalescing: equal calls share one upstream call, a flight, while its answer is on its way.

    Flights      the flights that may be joined now, by key and form
    Flight       one upstream call, and the chunks of its answer so far
    Subscriber   one client of a flight; the first subscriber makes the upstream call

No subscriber owns a flight. A subscriber that has read all chunks takes the next chunk from the
provider, for all. So a first client that is slow, or leaves, delays nobody. The last subscriber
that leaves ends the flight. A flight has no task of its own: a call that nobody joins costs no
more than a call without coalescing.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from gateway.cache.cached_response import CachedResponse
from gateway.core.errors import Problem, ProblemError

MAX_FLIGHT_BYTES = 8_000_000
"""Maximum bytes of a flight that the gateway keeps. Nobody joins a longer flight, and the cache
does not store its answer. A subscriber that is further behind than this gets an error."""
WHOLE_FORM = "whole"

_CUT_PROBLEM = Problem(
    kind="upstream_truncated",
    message="The gateway stopped the call whose answer this one shares. Send the request again.",
    spent="maybe",
)
_TOO_SLOW_PROBLEM = Problem(
    kind="upstream_truncated",
    message=(
        "The client read the answer too slowly, so the gateway stopped it. Send the request again."
    ),
)


class Flight[B]:
    """One upstream call. `B` is the type of its answer, which is there once the answer begins."""

    is_open = True
    """True while more clients may join."""
    is_over = False
    answer: B | None = None
    failure: Exception | None = None
    """The error that ended the answer, or kept it from beginning."""
    cached: CachedResponse | None = None
    """The complete answer."""
    close_account: Callable[[], object] | None = None
    """Closes the account of the first call at the flight's end, if its client left before."""
    _base = 0
    """The number of chunks that were dropped before the first one in `_chunks`."""
    _size = 0
    _source: AsyncGenerator[bytes] | None = None
    _on_end: Callable[[], None] | None = None
    _close_source: Callable[[], Awaitable[None]] | None = None
    _on_join: Callable[[], None] | None = None
    _change_event: asyncio.Event | None = None

    def __init__(self, key: str, form: str, max_bytes: int = MAX_FLIGHT_BYTES) -> None:
        """`form` is the form of the first client's answer: "whole", or a kind of stream."""
        self.key = key
        self.form = form
        self.subscribers: set[Subscriber[B]] = set()
        self.worker: Subscriber[B] | None = None
        """The subscriber whose task waits for the provider now."""
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []

    @property
    def chunk_count(self) -> int:
        """The number of chunks that have come."""
        return self._base + len(self._chunks)

    @property
    def body(self) -> bytes | None:
        """All chunks as one; None if they were too large to keep."""
        return b"".join(self._chunks) if self._size <= self._max_bytes else None

    def begin(
        self,
        answer: B,
        source: AsyncGenerator[bytes],
        on_end: Callable[[], None],
        close_source: Callable[[], Awaitable[None]],
        on_join: Callable[[], None] | None = None,
    ) -> None:
        """Begin the answer. At its end the flight calls `on_end`, then `close_source`.

        The flight calls `on_join` when a second client joins: from then on every chunk must go
        through the flight.
        """
        self.answer = answer
        self._source = source
        self._on_end = on_end
        self._close_source = close_source
        self._on_join = on_join
        self.worker = None
        self._signal_change()

    def add_chunk(self, data: bytes) -> bool:
        """Add a chunk for all subscribers. Return True if the flight is now too large to keep."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size <= self._max_bytes:
            return False
        self.is_open = False
        return True

    def join(self) -> "Subscriber[B]":
        """Add a client, and return its subscriber."""
        if self._on_join is not None:
            self._on_join()
            self._on_join = None
        subscriber = Subscriber(self)
        self.subscribers.add(subscriber)
        return subscriber

    def complete(self, answer: B, cached: CachedResponse | None) -> None:
        """End the flight with a whole answer. `cached` is None if the answer is incomplete.

        Nobody shares an incomplete answer.
        """
        self.answer, self.cached, self.is_over = answer, cached, True
        self.worker = None
        if self._change_event is not None:
            self._signal_change()

    def fail(self, error: BaseException) -> None:
        """End the flight without an answer. Subscribers get the error."""
        self.is_open, self.is_over = False, True
        self.failure = error if isinstance(error, Exception) else ProblemError(_CUT_PROBLEM)
        self.worker = None
        self._signal_change()

    async def wait_for_start(self) -> B:
        """Wait until the answer begins, and return it. Raises the error of the first call."""
        while self.answer is None:
            if self.failure is not None:
                raise self.failure
            await self._wait_for_change()
        return self.answer

    async def _read_chunks(self, subscriber: "Subscriber[B]") -> AsyncGenerator[bytes]:
        """Yield all chunks from the subscriber's position on, as they come.

        Raises the flight's failure where the answer breaks off, and ProblemError if the subscriber
        reads too slowly.
        """
        while True:
            if subscriber.has_left:
                await subscriber.stop()
            while subscriber.position < self.chunk_count:
                if subscriber.position < self._base:
                    raise ProblemError(_TOO_SLOW_PROBLEM)
                data = self._chunks[subscriber.position - self._base]
                subscriber.position += 1
                if self._size > self._max_bytes:
                    self.trim()
                yield data
            if self.is_over:
                if self.failure is not None:
                    raise self.failure
                return
            if self.worker is not None:
                await self._wait_for_change()
            else:
                await self._read_next(subscriber)

    async def _read_next(self, subscriber: "Subscriber[B]") -> None:
        """Take the next chunk from the provider, for all subscribers."""
        if self._source is None:
            raise RuntimeError("a flight is read after it has begun")
        self.worker = subscriber
        try:
            data = await anext(self._source)
        except StopAsyncIteration:
            self._finish(None)
        except Exception as error:  # noqa: BLE001 - raised again, in each subscriber
            self._finish(error)
        except BaseException:  # the task was cancelled, and nobody can read this source any more
            self._finish(ProblemError(_CUT_PROBLEM))
            raise
        else:
            self.add_chunk(data)
        finally:
            self.worker = None
            self._signal_change()
        if self.is_over:
            await self._release_source()

    def trim(self) -> None:
        """Drop the chunks that all subscribers have read, and the oldest above the maximum size."""
        slowest_position = min((subscriber.position for subscriber in self.subscribers), default=0)
        drop_count = max(0, slowest_position - self._base)  # one may be behind the first chunk
        kept_bytes = sum(map(len, self._chunks[drop_count:]))
        while kept_bytes > self._max_bytes:
            kept_bytes -= len(self._chunks[drop_count])
            drop_count += 1
        del self._chunks[:drop_count]
        self._base += drop_count

    def _finish(self, failure: Exception | None) -> None:
        self.is_over, self.failure = True, failure
        if failure is not None:
            self.is_open = False
        on_end, self._on_end, self._on_join = self._on_end, None, None
        if on_end is not None:
            on_end()

    async def _wait_for_change(self) -> None:
        if self._change_event is None:
            self._change_event = asyncio.Event()
        await self._change_event.wait()

    def _signal_change(self) -> None:
        if self._change_event is not None:
            self._change_event.set()
            self._change_event = None

    async def _release_source(self) -> None:
        close_source, self._close_source = self._close_source, None
        if close_source is not None:
            await close_source()

    async def remove(self, subscriber: "Subscriber[B]") -> None:
        """Remove a subscriber. When the last one leaves, end the flight if it is not over."""
        self.subscribers.discard(subscriber)
        if self.subscribers:
            return
        worker, source = self.worker, self._source
        if worker is not None and worker is not subscriber:
            worker.cancel()  # the worker's client left before: its task ends the flight
            return
        if source is None:
            return
        if not self.is_over:
            self._finish(ProblemError(_CUT_PROBLEM))
            await source.aclose()
        await self._release_source()


class Subscriber[B]:
    """One client of a flight."""

    __slots__ = ("_cancel", "flight", "is_first", "position")

    def __init__(self, flight: Flight[B], *, is_first: bool = False) -> None:
        self.flight = flight
        self.is_first = is_first
        """True if this client's call is the upstream call."""
        self.position = 0
        """The number of chunks that this client has read."""
        self._cancel: Callable[[], object] | None = None

    @property
    def has_left(self) -> bool:
        """True if the client left while its task was reading for other clients."""
        return self._cancel is not None

    @property
    def other_count(self) -> int:
        """The number of other subscribers on the flight."""
        return len(self.flight.subscribers - {self})

    @property
    def has_read_all(self) -> bool:
        """True if the flight is over and this client has read all chunks."""
        return self.flight.is_over and self.position >= self.flight.chunk_count

    def read_frames(self) -> AsyncGenerator[bytes]:
        """Read the answer from its beginning. Raises ProblemError where it breaks off."""
        return self.flight._read_chunks(self)  # noqa: SLF001 - two halves of one thing

    def note_passed_chunk(self, data: bytes) -> None:
        """Add a chunk that this client got already: others may join later."""
        flight = self.flight
        is_too_long = flight.add_chunk(data)
        self.position += 1
        if is_too_long:
            flight.trim()

    def abandon(self, cancel: Callable[[], object]) -> None:
        """Note that the client has left. `cancel` stops its task, once no other client needs it."""
        flight = self.flight
        flight.subscribers.discard(self)
        if flight.worker is self and flight.subscribers:
            self._cancel = cancel
            return
        if not flight.subscribers and not flight.is_over:
            flight.is_open = False  # the cancellation would cut off a client that joins before it
        cancel()

    def cancel(self) -> None:
        """Stop the task, if its client has left and it was reading for others only."""
        if self._cancel is not None:
            self._cancel()

    async def stop(self) -> None:
        """End the task after its work for other clients. Raises CancelledError."""
        self.cancel()
        await asyncio.sleep(0)  # asyncio raises CancelledError here

    def close_account[T](self, close: Callable[[], T]) -> T | None:
        """Close the account of the client's call.

        If other clients still need more of the first call's answer, the flight closes its account
        later: then return None.
        """
        flight = self.flight
        if not self.is_first or not self.other_count or flight.is_over:
            return close()
        flight.close_account = close
        return None

    async def close(self) -> None:
        """Stop reading. The last subscriber ends the flight if it is not over."""
        await self.flight.remove(self)


class Flights[B]:
    """The flights of one gateway that may be joined."""

    def __init__(self, max_bytes: int = MAX_FLIGHT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._by_key: dict[str, dict[str, Flight[B]]] = {}

    def join(self, key: str, form: str) -> Subscriber[B] | None:
        """Join a flight of equal calls. Return None if there is none of that form.

        The gateway can make a whole answer from any form. A stream must have the form that the
        client asks for.
        """
        flights = self._by_key.get(key)
        if flights is None:
            return None
        flight = flights.get(form)
        if form == WHOLE_FORM and (flight is None or not flight.is_open):
            flight = next((candidate for candidate in flights.values() if candidate.is_open), None)
        return flight.join() if flight is not None and flight.is_open else None

    def start(self, key: str, form: str) -> Subscriber[B]:
        """Start a flight, and return its first subscriber."""
        flight: Flight[B] = Flight(key, form, self._max_bytes)
        subscriber = flight.worker = Subscriber(flight, is_first=True)
        flight.subscribers.add(subscriber)
        flights = self._by_key.get(key)
        if flights is None:
            self._by_key[key] = {form: flight}
        else:
            flights[form] = flight
        return subscriber

    def drop(self, flight: Flight[B]) -> None:
        """Remove a flight that is over, so that nobody joins it any more."""
        flights = self._by_key.get(flight.key)
        if flights is not None and flights.get(flight.form) is flight:
            del flights[flight.form]
            if not flights:
                del self._by_key[flight.key]
