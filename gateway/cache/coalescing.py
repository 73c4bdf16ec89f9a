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

MOST = 8_000_000
"""Bytes of a flight that are kept: a longer one is no longer joined, nor stored in a cache, and a
subscriber that is further behind than this is cut off."""
WHOLE = "whole"

_CUT = Problem(
    kind="upstream_truncated",
    message="The call whose answer this one shares was stopped. Send it again.",
    spent="maybe",
)
_SLOW = Problem(kind="upstream_truncated", message="The answer was read too slowly. Send it again.")


class Flight[B]:
    """One upstream call; `B` is what is known of its answer once that has begun."""

    open = True
    """True while more may join."""
    over = False
    begun: B | None = None
    failure: Exception | None = None
    """Why it gave no answer, or no more of it."""
    recording: CachedResponse | None = None
    """The complete answer."""
    owed: Callable[[], object] | None = None
    """Closes the account of the first call, once its client has left and others stay."""
    _base = 0
    """Number of chunks that were dropped before the first of these."""
    _size = 0
    _source: AsyncGenerator[bytes] | None = None
    _ended: Callable[[], None] | None = None
    _close: Callable[[], Awaitable[None]] | None = None
    _joined: Callable[[], None] | None = None
    _news: asyncio.Event | None = None

    def __init__(self, key: str, form: str, most: int = MOST) -> None:
        """`form` is how its first client takes the answer: "whole", or a kind of stream."""
        self.key = key
        self.form = form
        self.members: set[Subscriber[B]] = set()
        self.worker: Subscriber[B] | None = None
        """Who waits for the provider now, in its own task."""
        self._most = most
        self._chunks: list[bytes] = []

    @property
    def top(self) -> int:
        """How many pieces have come."""
        return self._base + len(self._chunks)

    @property
    def body(self) -> bytes | None:
        """All that has come; None where it was too much to keep."""
        return b"".join(self._chunks) if self._size <= self._most else None

    def begin(
        self,
        begun: B,
        source: AsyncGenerator[bytes],
        ended: Callable[[], None],
        close: Callable[[], Awaitable[None]],
        joined: Callable[[], None] | None = None,
    ) -> None:
        """Begin the answer. Once it is over the flight calls `ended`, then `close` lets go of it.

        The flight calls `joined` when a second client joins: from then on no piece may pass it.
        """
        self.begun, self._source, self._ended, self._close = begun, source, ended, close
        self._joined = joined
        self.worker = None
        self._tell()

    def take(self, data: bytes) -> bool:
        """Keep a piece for all that read. True once there are more than may be kept."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size <= self._most:
            return False
        self.open = False
        return True

    def join(self) -> "Subscriber[B]":
        """Take one more client."""
        if self._joined is not None:
            self._joined()
            self._joined = None
        seat = Subscriber(self)
        self.members.add(seat)
        return seat

    def land(self, begun: B, recording: CachedResponse | None) -> None:
        """Take the whole answer; without a recording nobody shares it, as it is incomplete."""
        self.begun, self.recording, self.over = begun, recording, True
        self.worker = None
        if self._news is not None:
            self._tell()

    def fail(self, error: BaseException) -> None:
        """No answer has come."""
        self.open, self.over = False, True
        self.failure = error if isinstance(error, Exception) else ProblemError(_CUT)
        self.worker = None
        self._tell()

    async def started(self) -> B:
        """What is known once the answer has begun. Raises what its first call raised."""
        while self.begun is None:
            if self.failure is not None:
                raise self.failure
            await self._wait()
        return self.begun

    async def _read(self, seat: "Subscriber[B]") -> AsyncGenerator[bytes]:
        """What has come and what comes; raises ProblemError where it breaks off."""
        while True:
            if seat.left:
                await seat.stop()
            while seat.at < self.top:
                if seat.at < self._base:
                    raise ProblemError(_SLOW)
                data = self._chunks[seat.at - self._base]
                seat.at += 1
                if self._size > self._most:
                    self.trim()
                yield data
            if self.over:
                if self.failure is not None:
                    raise self.failure
                return
            if self.worker is not None:
                await self._wait()
            else:
                await self._take(seat)

    async def _take(self, seat: "Subscriber[B]") -> None:
        """Take the next piece from the provider, for all."""
        if self._source is None:
            raise RuntimeError("a flight is read after it has begun")
        self.worker = seat
        try:
            data = await anext(self._source)
        except StopAsyncIteration:
            self._end(None)
        except Exception as error:  # noqa: BLE001 - raised again, in each subscriber
            self._end(error)
        except BaseException:  # its reading is broken off for good
            self._end(ProblemError(_CUT))
            raise
        else:
            self.take(data)
        finally:
            self.worker = None
            self._tell()
        if self.over:
            await self._let_go()

    def trim(self) -> None:
        """Drop what all have read, and what is too much for those that have not."""
        slowest = min((seat.at for seat in self.members), default=0)
        drop = max(0, slowest - self._base)  # one may be behind what is kept already
        kept = sum(map(len, self._chunks[drop:]))
        while kept > self._most:
            kept -= len(self._chunks[drop])
            drop += 1
        del self._chunks[:drop]
        self._base += drop

    def _end(self, failure: Exception | None) -> None:
        self.over, self.failure = True, failure
        if failure is not None:
            self.open = False
        ended, self._ended, self._joined = self._ended, None, None
        if ended is not None:
            ended()

    async def _wait(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        await self._news.wait()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def _let_go(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            await close()

    async def leave(self, seat: "Subscriber[B]") -> None:
        """Let one client go. The last one ends what is not over."""
        self.members.discard(seat)
        if self.members:
            return
        worker, source = self.worker, self._source
        if worker is not None and worker is not seat:
            worker.cancel()  # its client left before: it ends the flight itself
            return
        if source is None:
            return
        if not self.over:
            self._end(ProblemError(_CUT))
            await source.aclose()
        await self._let_go()


class Subscriber[B]:
    """One client of a flight."""

    __slots__ = ("_cancel", "at", "first", "flight")

    def __init__(self, flight: Flight[B], *, first: bool = False) -> None:
        self.flight = flight
        self.first = first
        """True if the upstream call is its own."""
        self.at = 0
        """Chunks that it has read."""
        self._cancel: Callable[[], object] | None = None

    @property
    def left(self) -> bool:
        """Whether its client has left while it was working for others."""
        return self._cancel is not None

    @property
    def others(self) -> int:
        """How many more are on the flight."""
        return len(self.flight.members - {self})

    @property
    def done(self) -> bool:
        """Whether it has read all there is."""
        return self.flight.over and self.at >= self.flight.top

    def frames(self) -> AsyncGenerator[bytes]:
        """The answer from its beginning. Raises ProblemError where it breaks off."""
        return self.flight._read(self)  # noqa: SLF001 - two halves of one thing

    def passed(self, data: bytes) -> None:
        """Keep a piece that the client has been sent already: others may join later."""
        flight = self.flight
        long = flight.take(data)
        self.at += 1
        if long:
            flight.trim()

    def gone(self, cancel: Callable[[], object]) -> None:
        """Its client has left: `cancel` what is done for it, once nobody else needs that."""
        flight = self.flight
        flight.members.discard(self)
        if flight.worker is self and flight.members:
            self._cancel = cancel
            return
        if not flight.members and not flight.over:
            flight.open = False  # whoever comes before the cancellation does would be cut off
        cancel()

    def cancel(self) -> None:
        """Stop the task that works for others only, and for none of them any more."""
        if self._cancel is not None:
            self._cancel()

    async def stop(self) -> None:
        """End here, its work for others being done. Raises CancelledError."""
        self.cancel()
        await asyncio.sleep(0)  # where a task learns that it was cancelled

    def end[T](self, close: Callable[[], T]) -> T | None:
        """Close its account; later, where its flight uses more of the answer, for others."""
        flight = self.flight
        if not self.first or not self.others or flight.over:
            return close()
        flight.owed = close
        return None

    async def close(self) -> None:
        """Read no more. The last one ends what is not over."""
        await self.flight.leave(self)


class Flights[B]:
    """The flights of one gateway that may be joined."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._by_key: dict[str, dict[str, Flight[B]]] = {}

    def join(self, key: str, form: str) -> Subscriber[B] | None:
        """A seat on a flight of equal calls; None where there is none of that form.

        A whole answer can be made of any form; a stream must come as it was asked for.
        """
        flights = self._by_key.get(key)
        if flights is None:
            return None
        flight = flights.get(form)
        if form == WHOLE and (flight is None or not flight.open):
            flight = next((other for other in flights.values() if other.open), None)
        return flight.join() if flight is not None and flight.open else None

    def start(self, key: str, form: str) -> Subscriber[B]:
        """The first seat on a new flight."""
        flight: Flight[B] = Flight(key, form, self._most)
        seat = flight.worker = Subscriber(flight, first=True)
        flight.members.add(seat)
        flights = self._by_key.get(key)
        if flights is None:
            self._by_key[key] = {form: flight}
        else:
            flights[form] = flight
        return seat

    def drop(self, flight: Flight[B]) -> None:
        """Let nobody join any more: it is over, and kept where it may be."""
        flights = self._by_key.get(flight.key)
        if flights is not None and flights.get(flight.form) is flight:
            del flights[flight.form]
            if not flights:
                del self._by_key[flight.key]
