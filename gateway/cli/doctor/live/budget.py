"""The budget of a live check: what a probe may cost is reserved before it is sent."""

import asyncio
from decimal import Decimal

_ZERO = Decimal(0)


class ProbeBudget:
    """USD that all probes may cost together. It is never exceeded by what probes may cost."""

    def __init__(self, usd: Decimal) -> None:
        self.usd = usd
        self.charged = _ZERO
        """USD that ended probes cost, or may have cost, and that those in flight may cost."""
        self._in_flight = 0
        self._changed = asyncio.Condition()

    async def reserve(self, usd: Decimal) -> bool:
        """Reserve the most that a probe may cost; return False if there is not so much left.

        While other probes are in flight, wait: most cost less than they may.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(usd) or not self._in_flight)
            if not self._fits(usd):
                return False
            self.charged += usd
            self._in_flight += 1
            return True

    async def settle(self, reserved: Decimal, usd: Decimal) -> None:
        """Replace the reservation of a probe by its cost."""
        async with self._changed:
            self.charged += usd - reserved
            self._in_flight -= 1
            self._changed.notify_all()

    def _fits(self, usd: Decimal) -> bool:
        return self.charged + usd <= self.usd
