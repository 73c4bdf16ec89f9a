"""One connection to a provider: one exchange at a time, bounded in memory and in time.

    idle --begin--> waiting --head--> reading --end--> idle
                       |                 |
                       +---- failed -----+   (closed, never used again)

The connection stops reading while more than MAX_BUFFERED_BYTES wait for the reader of the answer: a
slow reader costs no memory. One timer watches all waits of a connection. A wait only moves its
deadline, and the timer looks at the deadline when it fires.
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
"""The lowest status that stops an upload: the provider does not want the rest of the body."""
_TIMER_TOLERANCE = 0.0005
"""Seconds by which a loop's timer may fire early."""

type Loop = asyncio.AbstractEventLoop


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection closed before a byte of the answer: the request was probably not read."""


class DirectSink(Protocol):
    """A consumer that takes an answer's bytes while a caller waits, who is then not woken."""

    def accept(self, data: bytes, chunk: bytes | None) -> bool:
        """Take bytes of a body; return False if the waiting caller must take them. Never raises.

        `chunk` is the same bytes in the chunked coding, as they came, if that is known.
        """
        ...


class UnwrittenError(httpx.LocalProtocolError):
    """A request was not sent, since its row is not written."""


def write_rows(write_batch: WriteBatch | None) -> None:
    """Write the row of a request now, before a wait. Raises UnwrittenError if that fails."""
    if write_batch is not None and not write_batch.flush():
        raise UnwrittenError("its row was not written")


class ProviderConnection(asyncio.Protocol):
    """A connection and the exchange on it."""

    __slots__ = (
        "_deadline",
        "_drain_waiter",
        "_error",
        "_has_unsent_body",
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
        "_waiter",
        "_writable",
        "direct_sink",
        "idle_since",
        "idle_timeout",
        "on_lost",
        "overall_deadline",
        "upload_scope",
    )  # fmt: skip

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._response: IncomingResponse | None = None
        self._error: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None  # for the head, or more of the body
        self._drain_waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = 0.0
        self._deadline = 0.0
        self._silence_timeout = 0.0
        self._timeout_message = ""
        self._pending_data = b""  # a request that leaves at the end of this iteration
        self._writable = True
        self._paused = False
        self._reused = False
        self._has_unsent_body = False
        self.direct_sink: DirectSink | None = None
        """The sink that takes an answer's bytes directly, if any."""
        self.on_lost: Callable[[ProviderConnection], object] | None = None
        """A function that is called if the connection is lost while no exchange is on it."""
        self.idle_since = 0.0
        """When the connection became idle, on the loop's clock."""
        self.idle_timeout = math.inf
        """Seconds that each wait for more of an answer may take."""
        self.overall_deadline = math.inf
        """When the wait for the head or the body must end, on the loop's clock."""
        self.upload_scope: asyncio.Timeout | None = None
        """The scope of an upload; it ends when the provider wants no more of the body."""

    # callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport: the connection is up, and encrypted if it should be."""
        # uvloop's transports are no subclasses of asyncio's, but do the same.
        self._transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
            self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """Take bytes from the provider."""
        if self.direct_sink is not None and self._pass_to_sink(self.direct_sink, data):
            return
        response = self._response
        if response is None or response.complete:
            # No request is open: bytes on an idle connection must never answer the next request.
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
        has_new_head = response.head_complete and not had_head
        if has_new_head and self._has_unsent_body:
            self._stop_unwanted_upload()
        if has_new_head or response.chunks or response.complete:
            if (
                not _wake(self._waiter)
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
        """Return True if bytes that came before the request left may be its answer.

        Then the request leaves now; otherwise the exchange fails.
        """
        if self._reused:  # never on a kept connection, as above
            self._fail(StaleConnection("a kept connection sent bytes before a request"))
            return False
        self.post()
        return True

    def eof_received(self) -> bool:
        """Close the connection: the provider will send no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange: the connection is gone."""
        self._transport = None
        self._cancel_timer()
        response = self._response
        if response is None:
            if self.on_lost is not None:
                self.on_lost(self)
        elif response.complete or (exc is None and self._error is None and response.feed_eof()):
            _wake(self._waiter)
            self._stop_unwanted_upload()
        elif self._pending_data and not self._reused:
            self._fail(httpx.ConnectError("the connection was closed at once"))
        elif self._reused and not response.has_data:
            self._fail(StaleConnection("a kept connection was closed before it answered"))
        elif exc is not None:
            is_reset = isinstance(exc, ConnectionResetError)
            reason = "the provider reset the connection" if is_reset else type(exc).__name__
            self._fail(httpx.ReadError(reason))
        else:
            self._fail(httpx.RemoteProtocolError("the answer was cut short"))

    def pause_writing(self) -> None:
        """Stop writing: the provider does not read what is sent."""
        self._writable = False

    def resume_writing(self) -> None:
        """Write again: the provider reads."""
        self._writable = True
        _wake(self._drain_waiter)

    # the exchange

    def is_usable(self, unchecked_seconds: float) -> bool:
        """Return True if another request may be sent: no bytes came, and no close.

        A connection that became idle less than `unchecked_seconds` ago is as the loop last saw it.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._loop.time() - self.idle_since < unchecked_seconds:
            return True
        # Bytes or a close that the loop has not read yet show in the socket itself.
        return self._poll is None or not self._poll(0)

    def begin(
        self,
        data: bytes,
        *,
        bodiless: bool = False,
        silence_timeout: float = 0.0,
        has_more: bool = False,
    ) -> None:
        """Send the first bytes of a request; `has_more` if more follow.

        The provider may be silent for `silence_timeout` seconds; 0 sets no limit.
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
        """Send as `begin` does, through a write batch if there is one, with no limit on silence."""
        self._response = IncomingResponse(bodiless=bodiless)
        self._silence_timeout = 0.0
        self._has_unsent_body = has_more
        transport = self._transport
        if transport is None or transport.is_closing():
            # Only a new connection can be closed here: it was lost just after it was made. Nothing
            # was sent.
            self._fail(httpx.ConnectError("the connection was closed at once"))
        elif write_batch is None:
            transport.write(data)
        else:
            self._pending_data = data
            write_batch.add_request(self)

    def post(self) -> None:
        """Send the request that waited in the write batch, unless the caller has given it up."""
        data, self._pending_data = self._pending_data, b""
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)

    def refuse(self) -> None:
        """Drop the request that waited in the write batch, and close, unless it was given up."""
        if self._pending_data:
            self._fail(UnwrittenError("its row was not written"))

    def write(self, data: bytes) -> None:
        """Send more of a request."""
        if self._transport is not None:
            self._transport.write(data)

    def finish_request(self) -> None:
        """Note that the whole request has been handed over to be sent."""
        self._has_unsent_body = False

    async def wait_until_drained(self, timeout_seconds: float) -> bool:
        """Wait until the provider has read most of the sent bytes; return True if it wants more.

        If it reads nothing for `timeout_seconds` (0: no limit), the exchange fails with
        httpx.WriteTimeout, which `wait_for_head` raises.
        """
        while not self._writable and self.wants_more() and self._transport is not None:
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
        return self.wants_more()

    def has_unread_bytes(self) -> bool:
        """Return True if the provider has sent bytes, or closed, and the loop has not read that."""
        return self._poll is not None and bool(self._poll(0))

    async def wait_for_head(self) -> IncomingResponse:
        """Wait for the head of the answer. Raises httpx errors."""
        response = self._response
        if response is None:
            raise httpx.LocalProtocolError("nothing was asked")
        if not response.head_complete and self._error is None:
            self._waiter = self._loop.create_future()
            self._start_timer("it did not answer")
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None and not response.head_complete:
            raise _copy_error(self._error)
        return response

    async def read_chunk(self) -> bytes:
        """Return the next bytes of the answer; empty at its end. Raises httpx errors."""
        response = self._response
        if response is None:
            raise httpx.LocalProtocolError("nothing was asked")
        while not response.chunks:
            if response.complete:
                return b""
            if self._error is not None:
                raise _copy_error(self._error)
            self._waiter = self._loop.create_future()
            self._start_timer("it stopped sending", self.idle_timeout)
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return response.take_body()

    def take_whole(self, max_bytes: float = math.inf) -> bytes | None:
        """Return the rest of the answer if all of it has arrived, else None.

        Also return None if the rest is larger than `max_bytes`.
        """
        response = self._response
        if response is None or not response.complete or response.buffered > max_bytes:
            return None
        return response.take_body()

    def finish_exchange(self) -> bool:
        """End an exchange; return True if the connection may be kept for another."""
        response, self._response = self._response, None
        if response is not None:
            response.parser = None  # else both would wait for the garbage collector
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
            and self._waiter is None  # no caller still waits
            and not transport.get_write_buffer_size()
        ):
            self.idle_since = self._loop.time()
            self._reused = True
            return True
        self._fail(httpx.ReadError("the answer was closed while it was read"))
        return False

    def abort(self) -> None:
        """Close the connection at once, even during an exchange."""
        self._cancel_timer()
        self._pending_data = b""
        self.direct_sink = None
        if self._transport is not None:
            self._transport.abort()

    def _pass_to_sink(self, sink: DirectSink, data: bytes) -> bool:
        """Give bytes to the sink if a caller waits; wake the caller for what the sink refuses.

        Return False if no caller waits: then the bytes are still to be handled.
        """
        waiter, response = self._waiter, self._response
        if waiter is None or waiter.done() or response is None:
            return False
        chunk_body = unwrap_chunk(data)
        unparsed_body = (
            chunk_body if response.is_between_chunks else None
        )  # the parser may skip these bytes
        if unparsed_body is not None and sink.accept(unparsed_body, data):
            self._deadline = min(self._loop.time() + self.idle_timeout, self.overall_deadline)
            return True
        try:
            response.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return True
        if response.complete:
            waiter.set_result(None)
        elif response.chunks:
            parsed_body = response.take_body()
            # If the parser returns the same content, it was between two chunks, and is so again.
            response.is_between_chunks = parsed_body == chunk_body
            if unparsed_body is None and sink.accept(parsed_body, None):
                self._deadline = min(self._loop.time() + self.idle_timeout, self.overall_deadline)
            else:
                response.chunks.append(parsed_body)
                response.buffered = len(parsed_body)
                waiter.set_result(None)
        return True

    def wants_more(self) -> bool:
        """Return True if more of the request may be sent."""
        response, transport = self._response, self._transport
        return (
            self._error is None
            and transport is not None
            and not transport.is_closing()
            and (
                response is None
                or not response.head_complete
                or response.status < _MIN_REFUSAL_STATUS
            )
        )

    def _stop_unwanted_upload(self) -> None:
        """End an upload if no more of it may be sent, even while it waits for the client."""
        if not self.wants_more():
            _wake(self._drain_waiter)
            scope, self.upload_scope = self.upload_scope, None
            if scope is not None:
                scope.reschedule(self._loop.time())

    def _fail(self, error: httpx.TransportError) -> None:
        """End the exchange with an error and close the connection."""
        if self._error is None:
            self._error = error
        _wake(self._waiter)
        self._stop_unwanted_upload()
        self.abort()

    # time

    def is_past_deadline(self) -> bool:
        """Return True if the time for the whole answer is over, not just the time for one wait."""
        return self._deadline == self.overall_deadline

    def _start_timer(self, message: str, idle_timeout: float = math.inf) -> None:
        """Start to limit the provider's silence; `message` says what it failed to do."""
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
            self._timer.cancel()  # an exchange with a longer limit set it
        self._timer_deadline = deadline
        self._timer = self._loop.call_at(deadline, self._handle_timer)

    def _handle_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
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
    """Return a copy to raise.

    A raised error refers to frames that refer to the connection: a cycle.
    """
    return type(error)(*error.args)


def _wake(future: asyncio.Future[None] | None) -> bool:
    """Wake the caller that waits for a future; return False if nobody waits."""
    if future is None or future.done():
        return False
    future.set_result(None)
    return True
