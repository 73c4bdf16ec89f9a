"""Bodies of requests: read within a size, a time and a rate, and only where there is memory."""

import asyncio

from gateway.core.errors import Problem, ProblemError
from gateway.limits.load_shedding import MemoryReservation
from gateway.server.json_value_count import ValueCount
from gateway.server.request_headers import ClientGone, Receive
from gateway.settings.schema.server import ServerPart

_IDS = 2
"""Times as many values in a body of token ids: OpenAI takes 300,000 of them in one request."""
LARGE = 1_000_000
"""Bytes from which on it matters what a body is made of."""


class BodyReader:
    """Reads them, each within some seconds and one more for so many bytes that have come."""

    def __init__(self, server: ServerPart) -> None:
        self._most = server.max_body
        self._values = server.max_values
        self._within = server.timeouts.body
        self._rate = server.timeouts.body_rate

    def take(self, data: bytes, hold: MemoryReservation, *, ids: bool = False) -> None:
        """Take a body that has come whole; `ids` as in `read`.

        Raises ProblemError: request_too_large, overloaded.
        """
        if len(data) > self._most:
            raise self._too_large()
        counter = self._counter(ids=ids)
        counter.add(data)
        counter.check()
        hold.ask(len(data))
        if len(data) > LARGE:
            hold.weigh(data)

    async def read(
        self, receive: Receive, length: int | None, hold: MemoryReservation, *, ids: bool = False
    ) -> bytes:
        """Read a request's body; `ids`: it may hold lists of token ids, and so more values.

        Raises ProblemError: request_too_large, request_timeout, overloaded; ClientGone where the
        client left.
        """
        if length is not None:
            if length > self._most:
                raise self._too_large()
            hold.ask(length)
        task = asyncio.current_task()
        reading = _Reading(task, self._within, self._rate)
        try:
            counter = self._counter(ids=ids)
            return await self._read(receive, reading, hold, counter, announced=length is not None)
        except asyncio.CancelledError:
            if not reading.late or task is None or task.uncancel() > 0:
                raise
            raise self._late() from None
        finally:
            reading.alarm.cancel()

    async def _read(
        self,
        receive: Receive,
        reading: "_Reading",
        hold: MemoryReservation,
        counter: ValueCount,
        *,
        announced: bool,
    ) -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            data: bytes = message.get("body", b"")
            reading.size += len(data)
            if reading.size > self._most:
                raise self._too_large()
            counter.add(data)
            more = message.get("more_body", False)
            if counter.over:
                if more:  # all of it is taken, so that its client reads why, and none is kept
                    parts.clear()
                    continue
                counter.check()
            if not more and not parts:
                return data
            parts.append(data)
            if not announced:
                hold.ask(reading.size)
            if reading.size > LARGE:
                hold.weigh(data)
            if not more:
                return b"".join(parts)

    def _counter(self, *, ids: bool) -> ValueCount:
        return ValueCount(self._values * _IDS if ids else self._values)

    def _too_large(self) -> ProblemError:
        message = f"The request body is larger than {self._most:,} bytes (server.max_body)."
        return ProblemError(Problem(kind="request_too_large", message=message))

    def _late(self) -> ProblemError:
        message = (
            f"The body did not arrive within {self._within:g} s and a second for each "
            f"{self._rate:,} bytes. Send it faster, or less."
        )
        return ProblemError(Problem(kind="request_timeout", message=message))


class _Reading:
    """How much has come, and what rings where that is too little.

    As asyncio.timeout would, at a third of its cost.
    """

    __slots__ = ("_due", "_loop", "_rate", "_task", "alarm", "late", "size")

    def __init__(self, task: asyncio.Task[object] | None, within: float, rate: int) -> None:
        self._task = task
        self._loop = loop = asyncio.get_running_loop()
        self._due = loop.time() + within
        self._rate = rate
        self.size = 0
        """Bytes that have come."""
        self.late = False
        """It has rung."""
        self.alarm = loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        due = self._due + self.size / self._rate
        if self._loop.time() < due:
            self.alarm = self._loop.call_at(due, self._ring)
        elif self._task is not None:
            self.late = True
            self._task.cancel()
