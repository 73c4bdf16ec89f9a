"""Read request bodies within limits of size, time, rate and memory."""

import asyncio

from gateway.core import json_size
from gateway.core.errors import ClientGone, Problem, ProblemError
from gateway.core.json_size import ValueCount
from gateway.limits.load_shedding import MemoryReservation
from gateway.server.request_headers import Receive
from gateway.settings.schema.server import ServerPart, WaitPart

_TOKEN_ID_FACTOR = 2
"""The factor by which a body of token ids may have more values.

OpenAI takes 300,000 token ids in one request.
"""
_COUNTED_BYTES = 16_384
"""The size in bytes from which values matter for the memory of a body."""


class BodyReader:
    """Reads bodies. The timeout grows by one second for each `body_rate` bytes that arrive."""

    def __init__(self, server: ServerPart) -> None:
        self._max_bytes = server.max_body
        self._max_values = server.max_values
        self._timeouts = server.timeouts

    def check(
        self, data: bytes, memory: MemoryReservation, *, allows_token_ids: bool = False
    ) -> None:
        """Check a body that has arrived whole; `allows_token_ids` as in `read`.

        Raises ProblemError: request_too_large, overloaded.
        """
        if len(data) > self._max_bytes:
            raise self._make_size_error()
        counter = self._make_counter(allows_token_ids=allows_token_ids)
        counter.add(data)
        self._check_count(counter)
        memory.reserve_body(len(data))
        self._reserve_content(memory, counter, len(data))

    async def read(
        self,
        receive: Receive,
        length: int | None,
        memory: MemoryReservation,
        *,
        allows_token_ids: bool = False,
    ) -> bytes:
        """Read the body of a request. With `allows_token_ids` it may have more values.

        Raises ProblemError: request_too_large, request_timeout, overloaded; ClientGone if the
        client has left.
        """
        if length is not None:
            if length > self._max_bytes:
                raise self._make_size_error()
            memory.reserve_body(length)
        task = asyncio.current_task()
        timer = _ReadTimer(task, self._timeouts.body, self._timeouts.body_rate)
        try:
            counter = self._make_counter(allows_token_ids=allows_token_ids)
            return await self._read(receive, timer, memory, counter, has_length=length is not None)
        except asyncio.CancelledError:
            if not timer.has_expired or task is None or task.uncancel() > 0:
                raise
            raise make_timeout_error(self._timeouts) from None
        finally:
            timer.timer_handle.cancel()

    async def _read(
        self,
        receive: Receive,
        timer: "_ReadTimer",
        memory: MemoryReservation,
        counter: ValueCount,
        *,
        has_length: bool,
    ) -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            data: bytes = message.get("body", b"")
            timer.received_bytes += len(data)
            if timer.received_bytes > self._max_bytes:
                raise self._make_size_error()
            counter.add(data)
            has_more = message.get("more_body", False)
            if counter.is_exceeded:
                if has_more:  # read to the end, so that the client reads the refusal
                    parts.clear()
                    continue
                self._check_count(counter)
            parts.append(data)
            if not has_length:
                memory.reserve_body(timer.received_bytes)
            if has_more:
                continue
            self._reserve_content(memory, counter, timer.received_bytes)
            return b"".join(parts) if len(parts) > 1 else data

    @staticmethod
    def _reserve_content(memory: MemoryReservation, counter: ValueCount, size: int) -> None:
        """Reserve what the content of a body needs beyond its size. Raises ProblemError."""
        if size > _COUNTED_BYTES:
            memory.reserve_values(counter.bound)
        if counter.has_wide_text and counter.complex_bytes > json_size.LARGE_BYTES:
            memory.reserve_wide_text(counter.complex_bytes)

    def _make_counter(self, *, allows_token_ids: bool) -> ValueCount:
        return ValueCount(
            self._max_values * _TOKEN_ID_FACTOR if allows_token_ids else self._max_values
        )

    @staticmethod
    def _check_count(counter: ValueCount) -> None:
        """Raise ProblemError, request_too_large, if a body has too many values or too much text."""
        if counter.complex_bytes > json_size.MAX_COMPLEX_BYTES:
            raise _make_too_large_error(
                f"The request body has more than {json_size.COMPLEX_TEXT_BOUND}."
                " Send less text in one request; base64 does not count."
            )
        if counter.is_exceeded:
            raise _make_too_large_error(
                f"The request body has more than {counter.max_values:,} JSON values"
                " (server.max_values). Send less in one request."
            )

    def _make_size_error(self) -> ProblemError:
        return _make_too_large_error(
            f"The request body is larger than {self._max_bytes:,} bytes (server.max_body)."
        )


def _make_too_large_error(message: str) -> ProblemError:
    return ProblemError(Problem(kind="request_too_large", message=message))


def make_timeout_error(timeouts: WaitPart) -> ProblemError:
    """Return the error of a body that arrives too slowly."""
    message = (
        f"The body did not arrive within {timeouts.body:g} s and a second for each "
        f"{timeouts.body_rate:,} bytes. Send it faster, or less."
    )
    return ProblemError(Problem(kind="request_timeout", message=message))


class _ReadTimer:
    """The number of bytes received, and a timer that cancels a read that is too slow.

    It works like asyncio.timeout, at a third of the cost.
    """

    __slots__ = (
        "_bytes_per_second",
        "_deadline",
        "_loop",
        "_task",
        "has_expired",
        "received_bytes",
        "timer_handle",
    )

    def __init__(
        self, task: asyncio.Task[object] | None, timeout: float, bytes_per_second: int
    ) -> None:
        self._task = task
        self._loop = loop = asyncio.get_running_loop()
        self._deadline = loop.time() + timeout
        self._bytes_per_second = bytes_per_second
        self.received_bytes = 0
        """The number of bytes received."""
        self.has_expired = False
        """True if the timer has cancelled the read."""
        self.timer_handle = loop.call_at(self._deadline, self._check_progress)

    def _check_progress(self) -> None:
        deadline = self._deadline + self.received_bytes / self._bytes_per_second
        if self._loop.time() < deadline:
            self.timer_handle = self._loop.call_at(deadline, self._check_progress)
        elif self._task is not None:
            self.has_expired = True
            self._task.cancel()
