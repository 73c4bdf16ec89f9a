"""Who gets in: while the gateway is not stopping, has room, and the key its share of it."""

from gateway.core.call import Key
from gateway.core.errors import DRAINING, ProblemError
from gateway.limits.load_shedding import SMALL, MemoryReservation
from gateway.runtime.composition import Gateway
from gateway.server.body import BodyReader
from gateway.server.request_headers import Receive
from gateway.server.share import FairConcurrency
from gateway.server.shutdown import GracefulShutdown, InFlightRequest


class Admission:
    """One for all doors of a process: `server.in_flight` calls are let in at a time."""

    def __init__(self, gateway: Gateway) -> None:
        server = gateway.site.source.config.server
        self._pressure = gateway.pressure
        self._shares = FairConcurrency(server.in_flight, gateway.pressure)
        self._intake = BodyReader(server)
        self.small = min(server.max_body, server.max_values, SMALL)
        """Bytes of a body that has come whole for which nothing need be asked."""
        self.drain = GracefulShutdown(gateway.waiting.close)

    @property
    def calls(self) -> int:
        """Calls that are being served."""
        return self._shares.calls

    def check(self) -> None:
        """Refuse whoever asks for anything, where nobody gets in.

        Raises ProblemError: draining, overloaded.
        """
        if self.drain.closed:
            raise ProblemError(DRAINING)
        self._pressure.check()

    def enter(self, key: Key) -> InFlightRequest:
        """Let a call in, or not. Raises ProblemError: draining, overloaded, rate_limited."""
        drain = self.drain
        if drain.closed:
            raise ProblemError(DRAINING)
        self._shares.enter(key)
        visit = InFlightRequest()
        drain.visits.add(visit)
        return visit

    def leave(self, key: Key, visit: InFlightRequest) -> None:
        """It has ended."""
        if visit.hold is not None:
            visit.hold.end()
        self.drain.visits.discard(visit)
        self._shares.leave(key)

    def hold(self, visit: InFlightRequest) -> MemoryReservation:
        """Memory for the body of a call, until it leaves."""
        visit.hold = hold = MemoryReservation(self._pressure)
        return hold

    def take(self, data: bytes, hold: MemoryReservation, *, ids: bool) -> None:
        """Take a body that has come whole; see BodyReader."""
        self._intake.take(data, hold, ids=ids)

    async def body(
        self,
        receive: Receive,
        length: int | None,
        hold: MemoryReservation | None = None,
        *,
        ids: bool = False,
    ) -> bytes:
        """Read the body of a request; see BodyReader. Without a `hold` it asks for memory."""
        if hold is not None:
            return await self._intake.read(receive, length, hold, ids=ids)
        hold = MemoryReservation(self._pressure)
        try:
            return await self._intake.read(receive, length, hold)
        finally:
            hold.end()
