"""One connection to a provider: one exchange at a time, bounded in memory and in time.

    idle --begin--> waiting --head--> reading --end--> idle
                       |                 |
                       +---- failed -----+   (closed, never used again)

Reading stops while more than HIGH bytes wait for whoever reads the answer: a slow reader costs no
memory. One timer watches over all waits of a connection: a wait only moves its deadline, and the
timer looks at it when it fires.
"""

import asyncio
import math
import select
from collections.abc import Callable
from typing import Protocol

import httpx

from gateway.upstream.http1.head_template import HeadTemplate, form
from gateway.upstream.http1.response import IncomingResponse, inside
from gateway.upstream.http1.waiter import Waiter
from gateway.upstream.write_batch import WriteBatch

HIGH = 262_144
"""Bytes of an answer that may wait to be read."""
_REFUSED = 300
"""From this status on, the rest of a body that is still being sent is not wanted."""
_STRANGE = 8
"""Answers in a row of which each had another form, after which no more are kept."""
_EARLY = 0.0005
"""Seconds by which a loop's timer may fire before its time."""

type Loop = asyncio.AbstractEventLoop


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection was closed before a byte of the answer: it was probably not read."""


class DirectSink(Protocol):
    """Where an answer goes on while somebody waits for more of it, who is then not woken."""

    def take(self, data: bytes, chunk: bytes | None) -> bool:
        """Take what has come of a body; False where who waits must. Never raises.

        `chunk` is the same in the chunked coding, as it came, where that is known.
        """
        ...


class UnwrittenError(httpx.LocalProtocolError):
    """Nothing was sent, since the row of the request is not written."""


class ProviderConnection(asyncio.Protocol):
    """A connection and the exchange on it."""

    __slots__ = (
        "_alarm", "_deadline", "_drained", "_due", "_error", "_first", "_form", "_head", "_loop",
        "_more", "_paused", "_poll", "_quiet", "_reading", "_reused", "_silence", "_strange",
        "_transport", "_unsent", "_writable", "direct", "gone", "idle", "since", "until",
    )  # fmt: skip

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._reading: IncomingResponse | None = None
        self._error: httpx.TransportError | None = None
        self._head = Waiter(loop=loop)
        self._more: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._deadline = 0.0
        self._silence = 0.0
        self._quiet = ""
        self._first = b""  # of a request that goes out at the end of this turn
        self._writable = True
        self._paused = False
        self._reused = False
        self._unsent = False
        self._form: HeadTemplate | None = None  # of the answer before
        self._strange = 0  # answers since one of that form
        self.direct: DirectSink | None = None
        """Takes what comes of an answer, where it may."""
        self.gone: Callable[[ProviderConnection], object] | None = None
        """Told when the connection is lost while no exchange is on it."""
        self.since = 0.0
        """When it became idle, on the loop's clock."""
        self.idle = math.inf
        """Seconds that each wait for more of an answer may take."""
        self.until = math.inf
        """When the wait for what comes next is over, on the loop's clock."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, and encrypted where it is to be."""
        # uvloop's transports are no subclasses of asyncio's, but do the same.
        self._transport = transport  # type: ignore[assignment]
        found = transport.get_extra_info("socket")
        if found is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(found.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
            self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """Bytes from the provider."""
        if self.direct is not None and self._passes(self.direct, data):
            return
        reading = self._reading
        if reading is None or reading.complete:
            # Nobody asked: what an idle connection says must never answer the next request.
            self.abort()
            return
        if self._first and not self._early():
            return
        try:
            reading.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return
        head = self._head
        waits = head.due and reading.head_complete
        if waits and self._drained is not None:
            _wake(self._drained)
        if reading.chunks or reading.complete:
            if self._more is not None and not self._more.done():
                self._more.set_result(None)
            elif reading.buffered > HIGH and not self._paused and not reading.complete:
                self._paused = True
                if self._transport is not None:
                    self._transport.pause_reading()
        elif self._silence:
            self._deadline = min(self._loop.time() + self._silence, self.until)
        if waits:
            head.reach()  # last: who has waited goes on in here

    def _early(self) -> bool:
        """Something has come before a request has left; whether it may be its answer."""
        if self._reused:  # never, as above
            self._fail(StaleConnection("a kept connection spoke before it was asked"))
            return False
        self.post()
        return True

    def eof_received(self) -> bool:
        """The provider will send no more: the connection is closed."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._silent()
        reading = self._reading
        if reading is None:
            if self.gone is not None:
                self.gone(self)
        elif reading.complete or (exc is None and self._error is None and reading.end()):
            self._head.stop()
            _wake(self._more)
            _wake(self._drained)
        elif self._first and not self._reused:
            self._fail(httpx.ConnectError("the connection was closed at once"))
        elif self._reused and not reading.heard:
            self._fail(StaleConnection("a kept connection was closed before it answered"))
        elif exc is not None:
            self._fail(httpx.ReadError(type(exc).__name__))
        else:
            self._fail(httpx.RemoteProtocolError("the answer was cut short"))

    def pause_writing(self) -> None:
        """The provider does not read what is sent."""
        self._writable = False

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable = True
        _wake(self._drained)

    # the exchange

    def usable(self, lately: float) -> bool:
        """Whether another request may be sent: nothing has come, and it has not been closed.

        One that became idle no more than `lately` seconds ago is as the loop has last seen it.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._loop.time() - self.since < lately:
            return True
        # What the loop has not read yet, a close above all, shows in the socket itself.
        return self._poll is None or not self._poll(0)

    def begin(
        self, data: bytes, *, bodiless: bool = False, silence: float = 0.0, more: bool = False
    ) -> None:
        """Send the first bytes of a request, of which `more` may follow.

        The provider may be quiet for `silence` seconds, 0: for ever.
        """
        self.ask(data, None, bodiless=bodiless, more=more)
        self._silence = silence

    def ask(
        self, data: bytes, outbox: WriteBatch | None, *, bodiless: bool = False, more: bool = False
    ) -> None:
        """As `begin`, by an outbox where there is one; the provider may be quiet for ever."""
        self._reading = IncomingResponse(self._form, bodiless=bodiless)
        self._silence = 0.0
        self._head.begin()
        self._unsent = more
        transport = self._transport
        if transport is None or transport.is_closing():
            # Only a new one can be: it was lost between its making and now. Nothing was sent.
            self._fail(httpx.ConnectError("the connection was closed at once"))
        elif outbox is None:
            transport.write(data)
        else:
            self._first = data
            outbox.ask(self)

    def post(self) -> None:
        """Send what the outbox was asked to; nothing where the request was given up since."""
        data, self._first = self._first, b""
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)

    def refuse(self) -> None:
        """Not send what the outbox was asked to, and close; nothing where it was given up since."""
        if self._first:
            self._fail(UnwrittenError("its row was not written"))

    def write(self, data: bytes) -> None:
        """Send more of a request."""
        if self._transport is not None:
            self._transport.write(data)

    def written(self) -> None:
        """The whole request has been given to be sent."""
        self._unsent = False

    async def drained(self, seconds: float) -> bool:
        """Wait until the provider has read most of what was sent, and tell whether it wants more.

        Raises httpx.WriteTimeout where it reads nothing for `seconds`, 0: never.
        """
        while not self._writable and self._wanted() and self._transport is not None:
            left = self._transport.get_write_buffer_size()
            self._drained = self._loop.create_future()
            try:
                async with asyncio.timeout(seconds or None):
                    await self._drained
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= left:
                    self._fail(httpx.WriteTimeout(f"it read nothing for {seconds:g} s"))
            finally:
                self._drained = None
        return self._wanted()

    async def head(self) -> IncomingResponse:
        """Wait for the head of the answer. Raises httpx errors."""
        reading, head = self._reading, self._head
        if reading is None:
            raise httpx.LocalProtocolError("nothing was asked")
        if head.due:
            self._watch("it did not answer")
            await head
        if self._error is not None and not reading.head_complete:
            raise _anew(self._error)
        return reading

    async def more(self) -> bytes:
        """The next bytes of the answer; empty at its end. Raises httpx errors."""
        reading = self._reading
        if reading is None:
            raise httpx.LocalProtocolError("nothing was asked")
        while not reading.chunks:
            if reading.complete:
                return b""
            if self._error is not None:
                raise _anew(self._error)
            self._more = self._loop.create_future()  # of each chunk: a plain one costs less
            self._watch("it stopped sending", self.idle)
            try:
                await self._more
            finally:
                self._more = None
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return reading.take()

    def whole(self, most: float = math.inf) -> bytes | None:
        """What is left of the answer, where all of it is here; None where more must come.

        None too where that is more than so many bytes.
        """
        reading = self._reading
        if reading is None or not reading.complete or reading.buffered > most:
            return None
        return reading.take()

    def rest(self) -> bool:
        """End an exchange; tells whether the connection may be kept for another."""
        reading, self._reading = self._reading, None
        self._head.due = False
        self.until = self.idle = math.inf
        self.direct = None
        transport = self._transport
        if (
            reading is not None
            and reading.complete
            and reading.keep
            and transport is not None
            and not transport.is_closing()
            and not self._unsent
            and not self._paused
            and self._more is None  # nobody still waits here
            and not transport.get_write_buffer_size()
        ):
            self.since = self._loop.time()
            self._reused = True
            if reading.formed:
                self._strange = 0
            elif reading.whole is not None and self._strange < _STRANGE:
                self._strange += 1
                self._form = form(reading.whole)
            reading.release()
            return True
        if reading is not None:
            reading.release()
        self._fail(httpx.ReadError("the answer was closed while it was read"))
        return False

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._silent()
        self._first = b""
        self.direct = None
        if self._transport is not None:
            self._transport.abort()

    def _passes(self, direct: DirectSink, data: bytes) -> bool:
        """Have what came taken where somebody waits for it, who is told of what is not."""
        more, reading = self._more, self._reading
        if more is None or more.done() or reading is None:
            return False
        body = inside(data)
        alone = body if reading.between else None  # of which the parser need not know
        if alone is not None and direct.take(alone, data):
            self._deadline = min(self._loop.time() + self.idle, self.until)
            return True
        try:
            reading.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return True
        if reading.complete:
            more.set_result(None)
        elif reading.chunks:
            found = reading.take()
            # Where the parser made just this of it, it stood between two chunks, and does again.
            reading.between = found == body
            if alone is None and direct.take(found, None):
                self._deadline = min(self._loop.time() + self.idle, self.until)
            else:
                reading.chunks.append(found)
                reading.buffered = len(found)
                more.set_result(None)
        return True

    def _wanted(self) -> bool:
        """Whether more of the request may be sent."""
        reading = self._reading
        return self._error is None and (
            reading is None or not reading.head_complete or reading.status < _REFUSED
        )

    def _fail(self, error: httpx.TransportError) -> None:
        """End the exchange with an error and close the connection."""
        if self._error is None:
            self._error = error
        self._head.stop()
        _wake(self._more)
        _wake(self._drained)
        self.abort()

    # time

    def over(self) -> bool:
        """Whether all time for an answer is over, and not just that for a wait."""
        return self._deadline == self.until

    def _watch(self, quiet: str, idle: float = math.inf) -> None:
        """From now on the provider may be silent for as long as was said."""
        silence = min(self._silence, idle) if self._silence else idle
        deadline = self.until
        if silence < math.inf:
            deadline = min(deadline, self._loop.time() + silence)
        elif deadline == math.inf:
            return
        self._quiet = quiet
        self._deadline = deadline
        if self._alarm is not None:
            if self._due <= deadline:
                return
            self._alarm.cancel()  # it was set by an exchange that had more patience
        self._due = deadline
        self._alarm = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        waiting = self._more is not None or self._head.due
        if not waiting:
            return
        if self._loop.time() < self._deadline - _EARLY:
            self._due = self._deadline
            self._alarm = self._loop.call_at(self._deadline, self._ring)
            return
        silence = min(self._silence or math.inf, self.idle)
        late = "in time" if self.over() else f"for {silence:g} s"
        self._fail(httpx.ReadTimeout(f"{self._quiet} {late}"))

    def _silent(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _anew(error: httpx.TransportError) -> httpx.TransportError:
    """One to be raised: what was raised knows the frames that know the connection, in a circle."""
    return type(error)(*error.args)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
