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

from gateway.upstream.http1.response import IncomingResponse, unwrap_chunk
from gateway.upstream.write_batch import WriteBatch

MAX_BUFFERED_BYTES = 262_144
"""Bytes of an answer that may wait to be read."""
_MIN_REFUSAL_STATUS = 300
"""From this status on, the rest of a body that is still being sent is not wanted."""
_TIMER_TOLERANCE = 0.0005
"""Seconds by which a loop's timer may fire before its time."""

type Loop = asyncio.AbstractEventLoop


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection was closed before a byte of the answer: it was probably not read."""


class DirectSink(Protocol):
    """Where an answer goes on while somebody waits for more of it, who is then not woken."""

    def accept(self, data: bytes, chunk: bytes | None) -> bool:
        """Take what has come of a body; False where who waits must. Never raises.

        `chunk` is the same in the chunked coding, as it came, where that is known.
        """
        ...


class UnwrittenError(httpx.LocalProtocolError):
    """Nothing was sent, since the row of the request is not written."""


class ProviderConnection(asyncio.Protocol):
    """A connection and the exchange on it."""

    __slots__ = (
        "_body_waiter",
        "_deadline",
        "_drain_waiter",
        "_error",
        "_has_unsent_body",
        "_head_waiter",
        "_loop",
        "_paused",
        "_pending_data",
        "_poll",
        "_response",
        "_reused",
        "_silence_timeout",
        "_timeout_message",
        "_timer",
        "_timer_deadline",
        "_transport",
        "_writable",
        "direct_sink",
        "idle_since",
        "idle_timeout",
        "on_lost",
        "overall_deadline",
    )  # fmt: skip

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._response: IncomingResponse | None = None
        self._error: httpx.TransportError | None = None
        self._head_waiter: asyncio.Future[None] | None = None
        self._body_waiter: asyncio.Future[None] | None = None
        self._drain_waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = 0.0
        self._deadline = 0.0
        self._silence_timeout = 0.0
        self._timeout_message = ""
        self._pending_data = b""  # of a request that goes out at the end of this iteration
        self._writable = True
        self._paused = False
        self._reused = False
        self._has_unsent_body = False
        self.direct_sink: DirectSink | None = None
        """Takes what comes of an answer, where it may."""
        self.on_lost: Callable[[ProviderConnection], object] | None = None
        """Told when the connection is lost while no exchange is on it."""
        self.idle_since = 0.0
        """When it became idle, on the loop's clock."""
        self.idle_timeout = math.inf
        """Seconds that each wait for more of an answer may take."""
        self.overall_deadline = math.inf
        """When the wait for what comes next is over, on the loop's clock."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, and encrypted where it is to be."""
        # uvloop's transports are no subclasses of asyncio's, but do the same.
        self._transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
            self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """Bytes from the provider."""
        if self.direct_sink is not None and self._pass_to_sink(self.direct_sink, data):
            return
        response = self._response
        if response is None or response.complete:
            # Nobody asked: what an idle connection says must never answer the next request.
            self.abort()
            return
        if self._pending_data and not self._accept_early_data():
            return
        had_head = response.head_complete
        try:
            response.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return
        if response.head_complete and not had_head:
            _wake(self._head_waiter)
            _wake(self._drain_waiter)  # a refusal stops the upload
        if response.chunks or response.complete:
            if (
                not _wake(self._body_waiter)
                and response.buffered > MAX_BUFFERED_BYTES
                and not self._paused
                and not response.complete
            ):
                self._paused = True
                if self._transport is not None:
                    self._transport.pause_reading()
        elif self._silence_timeout:
            self._deadline = min(self._loop.time() + self._silence_timeout, self.overall_deadline)

    def _accept_early_data(self) -> bool:
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
        self._cancel_timer()
        response = self._response
        if response is None:
            if self.on_lost is not None:
                self.on_lost(self)
        elif response.complete or (exc is None and self._error is None and response.feed_eof()):
            _wake(self._head_waiter)
            _wake(self._body_waiter)
            _wake(self._drain_waiter)
        elif self._pending_data and not self._reused:
            self._fail(httpx.ConnectError("the connection was closed at once"))
        elif self._reused and not response.has_data:
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
        _wake(self._drain_waiter)

    # the exchange

    def is_usable(self, unchecked_seconds: float) -> bool:
        """Whether another request may be sent: nothing has come, and it has not been closed.

        One that became idle no more than `unchecked_seconds` ago is as the loop has last seen it.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._loop.time() - self.idle_since < unchecked_seconds:
            return True
        # What the loop has not read yet, a close above all, shows in the socket itself.
        return self._poll is None or not self._poll(0)

    def begin(
        self,
        data: bytes,
        *,
        bodiless: bool = False,
        silence_timeout: float = 0.0,
        has_more: bool = False,
    ) -> None:
        """Send the first bytes of a request, of which `has_more` may follow.

        The provider may be quiet for `silence_timeout` seconds, 0: for ever.
        """
        self.send_request(data, None, bodiless=bodiless, has_more=has_more)
        self._silence_timeout = silence_timeout

    def send_request(
        self,
        data: bytes,
        write_batch: WriteBatch | None,
        *,
        bodiless: bool = False,
        has_more: bool = False,
    ) -> None:
        """As `begin`, by an outbox where there is one; the provider may be quiet for ever."""
        self._response = IncomingResponse(bodiless=bodiless)
        self._silence_timeout = 0.0
        self._has_unsent_body = has_more
        transport = self._transport
        if transport is None or transport.is_closing():
            # Only a new one can be: it was lost between its making and now. Nothing was sent.
            self._fail(httpx.ConnectError("the connection was closed at once"))
        elif write_batch is None:
            transport.write(data)
        else:
            self._pending_data = data
            write_batch.add_request(self)

    def post(self) -> None:
        """Send what the outbox was asked to; nothing where the request was given up since."""
        data, self._pending_data = self._pending_data, b""
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)

    def refuse(self) -> None:
        """Not send what the outbox was asked to, and close; nothing where it was given up since."""
        if self._pending_data:
            self._fail(UnwrittenError("its row was not written"))

    def write(self, data: bytes) -> None:
        """Send more of a request."""
        if self._transport is not None:
            self._transport.write(data)

    def finish_request(self) -> None:
        """The whole request has been given to be sent."""
        self._has_unsent_body = False

    async def wait_until_drained(self, timeout_seconds: float) -> bool:
        """Wait until the provider has read most of what was sent, and tell whether it wants more.

        Raises httpx.WriteTimeout where it reads nothing for `timeout_seconds`, 0: never.
        """
        while not self._writable and self._wants_more() and self._transport is not None:
            buffer_size = self._transport.get_write_buffer_size()
            self._drain_waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout_seconds or None):
                    await self._drain_waiter
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= buffer_size:
                    self._fail(httpx.WriteTimeout(f"it read nothing for {timeout_seconds:g} s"))
            finally:
                self._drain_waiter = None
        return self._wants_more()

    async def wait_for_head(self) -> IncomingResponse:
        """Wait for the head of the answer. Raises httpx errors."""
        response = self._response
        if response is None:
            raise httpx.LocalProtocolError("nothing was asked")
        if not response.head_complete and self._error is None:
            self._head_waiter = self._loop.create_future()
            self._start_timer("it did not answer")
            try:
                await self._head_waiter
            finally:
                self._head_waiter = None
        if self._error is not None and not response.head_complete:
            raise _copy_error(self._error)
        return response

    async def read_chunk(self) -> bytes:
        """The next bytes of the answer; empty at its end. Raises httpx errors."""
        response = self._response
        if response is None:
            raise httpx.LocalProtocolError("nothing was asked")
        while not response.chunks:
            if response.complete:
                return b""
            if self._error is not None:
                raise _copy_error(self._error)
            self._body_waiter = self._loop.create_future()
            self._start_timer("it stopped sending", self.idle_timeout)
            try:
                await self._body_waiter
            finally:
                self._body_waiter = None
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return response.take_body()

    def take_whole(self, max_bytes: float = math.inf) -> bytes | None:
        """What is left of the answer, where all of it is here; None where more must come.

        None too where that is more than so many bytes.
        """
        response = self._response
        if response is None or not response.complete or response.buffered > max_bytes:
            return None
        return response.take_body()

    def finish_exchange(self) -> bool:
        """End an exchange; tells whether the connection may be kept for another."""
        response, self._response = self._response, None
        self.overall_deadline = self.idle_timeout = math.inf
        self.direct_sink = None
        transport = self._transport
        if (
            response is not None
            and response.complete
            and response.can_keep_alive
            and transport is not None
            and not transport.is_closing()
            and not self._has_unsent_body
            and not self._paused
            and self._body_waiter is None  # nobody still waits here
            and not transport.get_write_buffer_size()
        ):
            self.idle_since = self._loop.time()
            self._reused = True
            response.release()
            return True
        if response is not None:
            response.release()
        self._fail(httpx.ReadError("the answer was closed while it was read"))
        return False

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._cancel_timer()
        self._pending_data = b""
        self.direct_sink = None
        if self._transport is not None:
            self._transport.abort()

    def _pass_to_sink(self, sink: DirectSink, data: bytes) -> bool:
        """Have what came taken where somebody waits for it, who is told of what is not."""
        body_waiter, response = self._body_waiter, self._response
        if body_waiter is None or body_waiter.done() or response is None:
            return False
        chunk_body = unwrap_chunk(data)
        unparsed_body = (
            chunk_body if response.is_between_chunks else None
        )  # of which the parser need not know
        if unparsed_body is not None and sink.accept(unparsed_body, data):
            self._deadline = min(self._loop.time() + self.idle_timeout, self.overall_deadline)
            return True
        try:
            response.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return True
        if response.complete:
            body_waiter.set_result(None)
        elif response.chunks:
            parsed_body = response.take_body()
            # Where the parser made just this of it, it stood between two chunks, and does again.
            response.is_between_chunks = parsed_body == chunk_body
            if unparsed_body is None and sink.accept(parsed_body, None):
                self._deadline = min(self._loop.time() + self.idle_timeout, self.overall_deadline)
            else:
                response.chunks.append(parsed_body)
                response.buffered = len(parsed_body)
                body_waiter.set_result(None)
        return True

    def _wants_more(self) -> bool:
        """Whether more of the request may be sent."""
        response = self._response
        return self._error is None and (
            response is None or not response.head_complete or response.status < _MIN_REFUSAL_STATUS
        )

    def _fail(self, error: httpx.TransportError) -> None:
        """End the exchange with an error and close the connection."""
        if self._error is None:
            self._error = error
        _wake(self._head_waiter)
        _wake(self._body_waiter)
        _wake(self._drain_waiter)
        self.abort()

    # time

    def is_past_deadline(self) -> bool:
        """Whether all time for an answer is over, and not just that for a wait."""
        return self._deadline == self.overall_deadline

    def _start_timer(self, message: str, idle_timeout: float = math.inf) -> None:
        """From now on the provider may be silent for as long as was said."""
        silence_timeout = (
            min(self._silence_timeout, idle_timeout) if self._silence_timeout else idle_timeout
        )
        deadline = self.overall_deadline
        if silence_timeout < math.inf:
            deadline = min(deadline, self._loop.time() + silence_timeout)
        elif deadline == math.inf:
            return
        self._timeout_message = message
        self._deadline = deadline
        if self._timer is not None:
            if self._timer_deadline <= deadline:
                return
            self._timer.cancel()  # it was set by an exchange that had more patience
        self._timer_deadline = deadline
        self._timer = self._loop.call_at(deadline, self._handle_timer)

    def _handle_timer(self) -> None:
        self._timer = None
        if not (_is_pending(self._head_waiter) or _is_pending(self._body_waiter)):
            return
        if self._loop.time() < self._deadline - _TIMER_TOLERANCE:
            self._timer_deadline = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._handle_timer)
            return
        silence_timeout = min(self._silence_timeout or math.inf, self.idle_timeout)
        limit_text = "in time" if self.is_past_deadline() else f"for {silence_timeout:g} s"
        self._fail(httpx.ReadTimeout(f"{self._timeout_message} {limit_text}"))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _copy_error(error: httpx.TransportError) -> httpx.TransportError:
    """One to be raised: what was raised knows the frames that know the connection, in a circle."""
    return type(error)(*error.args)


def _is_pending(future: asyncio.Future[None] | None) -> bool:
    """True if somebody waits, and what they wait for has not come."""
    return future is not None and not future.done()


def _wake(future: asyncio.Future[None] | None) -> bool:
    """Tell somebody who waits that what they wait for has come; False if nobody waits."""
    if future is None or future.done():
        return False
    future.set_result(None)
    return True
