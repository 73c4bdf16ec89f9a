"""Flights: an upstream call whose answer is shared by all that ask the same while it comes.

    Flights      those that may be joined now, by key and form
    Flight       one upstream call and what has come of it so far
    Subscriber   one client of it; the first one's call is the call that is made

Nobody owns a flight: whoever has read all that has come takes the next piece from the provider, for
all. So a first client that is slow, or leaves, holds up nobody; the last one that leaves ends it.
No task is made for it: a call that nobody joins costs what it would cost without.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from gateway.cache.cached_response import CachedResponse
from gateway.core.errors import Problem, ProblemError

MAX_FLIGHT_BYTES = 8_000_000
"""Bytes of a flight that are kept: a longer one is no longer joined, nor stored in a cache, and a
subscriber that is further behind than this is cut off."""
WHOLE_FORM = "whole"

_CUT_PROBLEM = Problem(
    kind="upstream_truncated",
    message="The call whose answer this one shares was stopped. Send it again.",
    spent="maybe",
)
_TOO_SLOW_PROBLEM = Problem(
    kind="upstream_truncated", message="The answer was read too slowly. Send it again."
)


class Flight[B]:
    """One upstream call; `B` is what is known of its answer once that has begun."""

    is_open = True
    """True while more may join."""
    is_over = False
    answer: B | None = None
    failure: Exception | None = None
    """Why it gave no answer, or no more of it."""
    cached: CachedResponse | None = None
    """The complete answer."""
    close_account: Callable[[], object] | None = None
    """Closes the account of the first call, once its client has left and others stay."""
    _base = 0
    """Number of chunks that were dropped before the first of these."""
    _size = 0
    _source: AsyncGenerator[bytes] | None = None
    _on_end: Callable[[], None] | None = None
    _close_source: Callable[[], Awaitable[None]] | None = None
    _on_join: Callable[[], None] | None = None
    _change_event: asyncio.Event | None = None

    def __init__(self, key: str, form: str, max_bytes: int = MAX_FLIGHT_BYTES) -> None:
        """`form` is how its first client takes the answer: "whole", or a kind of stream."""
        self.key = key
        self.form = form
        self.subscribers: set[Subscriber[B]] = set()
        self.worker: Subscriber[B] | None = None
        """Who waits for the provider now, in its own task."""
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []

    @property
    def chunk_count(self) -> int:
        """How many pieces have come."""
        return self._base + len(self._chunks)

    @property
    def body(self) -> bytes | None:
        """All that has come; None where it was too much to keep."""
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

        The flight calls `on_join` when a second client joins: from then on no piece may pass it.
        """
        self.answer = answer
        self._source = source
        self._on_end = on_end
        self._close_source = close_source
        self._on_join = on_join
        self.worker = None
        self._signal_change()

    def add_chunk(self, data: bytes) -> bool:
        """Keep a piece for all that read. True once there are more than may be kept."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size <= self._max_bytes:
            return False
        self.is_open = False
        return True

    def join(self) -> "Subscriber[B]":
        """Take one more client."""
        if self._on_join is not None:
            self._on_join()
            self._on_join = None
        subscriber = Subscriber(self)
        self.subscribers.add(subscriber)
        return subscriber

    def complete(self, answer: B, cached: CachedResponse | None) -> None:
        """Take the whole answer; without a recording nobody shares it, as it is incomplete."""
        self.answer, self.cached, self.is_over = answer, cached, True
        self.worker = None
        if self._change_event is not None:
            self._signal_change()

    def fail(self, error: BaseException) -> None:
        """No answer has come."""
        self.is_open, self.is_over = False, True
        self.failure = error if isinstance(error, Exception) else ProblemError(_CUT_PROBLEM)
        self.worker = None
        self._signal_change()

    async def wait_for_start(self) -> B:
        """What is known once the answer has begun. Raises what its first call raised."""
        while self.answer is None:
            if self.failure is not None:
                raise self.failure
            await self._wait_for_change()
        return self.answer

    async def _read_chunks(self, subscriber: "Subscriber[B]") -> AsyncGenerator[bytes]:
        """What has come and what comes; raises ProblemError where it breaks off."""
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
        """Take the next piece from the provider, for all."""
        if self._source is None:
            raise RuntimeError("a flight is read after it has begun")
        self.worker = subscriber
        try:
            data = await anext(self._source)
        except StopAsyncIteration:
            self._finish(None)
        except Exception as error:  # noqa: BLE001 - raised again, in each subscriber
            self._finish(error)
        except BaseException:  # its reading is broken off for good
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
        """Drop what all have read, and what is too much for those that have not."""
        slowest_position = min((subscriber.position for subscriber in self.subscribers), default=0)
        drop_count = max(0, slowest_position - self._base)  # one may be behind what is kept already
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
        """Let one client go. The last one ends what is not over."""
        self.subscribers.discard(subscriber)
        if self.subscribers:
            return
        worker, source = self.worker, self._source
        if worker is not None and worker is not subscriber:
            worker.cancel()  # its client left before: it ends the flight itself
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
        """True if the upstream call is its own."""
        self.position = 0
        """Chunks that it has read."""
        self._cancel: Callable[[], object] | None = None

    @property
    def has_left(self) -> bool:
        """Whether its client has left while it was working for others."""
        return self._cancel is not None

    @property
    def other_count(self) -> int:
        """How many more are on the flight."""
        return len(self.flight.subscribers - {self})

    @property
    def has_read_all(self) -> bool:
        """Whether it has read all there is."""
        return self.flight.is_over and self.position >= self.flight.chunk_count

    def read_frames(self) -> AsyncGenerator[bytes]:
        """The answer from its beginning. Raises ProblemError where it breaks off."""
        return self.flight._read_chunks(self)  # noqa: SLF001 - two halves of one thing

    def note_passed_chunk(self, data: bytes) -> None:
        """Keep a piece that the client has been sent already: others may join later."""
        flight = self.flight
        is_too_long = flight.add_chunk(data)
        self.position += 1
        if is_too_long:
            flight.trim()

    def abandon(self, cancel: Callable[[], object]) -> None:
        """Its client has left: `cancel` what is done for it, once nobody else needs that."""
        flight = self.flight
        flight.subscribers.discard(self)
        if flight.worker is self and flight.subscribers:
            self._cancel = cancel
            return
        if not flight.subscribers and not flight.is_over:
            flight.is_open = False  # whoever comes before the cancellation does would be cut off
        cancel()

    def cancel(self) -> None:
        """Stop the task that works for others only, and for none of them any more."""
        if self._cancel is not None:
            self._cancel()

    async def stop(self) -> None:
        """End here, its work for others being done. Raises CancelledError."""
        self.cancel()
        await asyncio.sleep(0)  # where a task learns that it was cancelled

    def close_account[T](self, close: Callable[[], T]) -> T | None:
        """Close its account; later, where its flight uses more of the answer, for others."""
        flight = self.flight
        if not self.is_first or not self.other_count or flight.is_over:
            return close()
        flight.close_account = close
        return None

    async def close(self) -> None:
        """Read no more. The last one ends what is not over."""
        await self.flight.remove(self)


class Flights[B]:
    """The flights of one gateway that may be joined."""

    def __init__(self, max_bytes: int = MAX_FLIGHT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._by_key: dict[str, dict[str, Flight[B]]] = {}

    def join(self, key: str, form: str) -> Subscriber[B] | None:
        """A seat on a flight of equal calls; None where there is none of that form.

        A whole answer can be made of any form; a stream must come as it was asked for.
        """
        flights = self._by_key.get(key)
        if flights is None:
            return None
        flight = flights.get(form)
        if form == WHOLE_FORM and (flight is None or not flight.is_open):
            flight = next((candidate for candidate in flights.values() if candidate.is_open), None)
        return flight.join() if flight is not None and flight.is_open else None

    def start(self, key: str, form: str) -> Subscriber[B]:
        """The first seat on a new flight."""
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
        """Let nobody join any more: it is over, and kept where it may be."""
        flights = self._by_key.get(flight.key)
        if flights is not None and flights.get(flight.form) is flight:
            del flights[flight.form]
            if not flights:
                del self._by_key[flight.key]
