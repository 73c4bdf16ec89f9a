"""The budget of one run of a command: it reserves what requests may cost before they are sent."""

import asyncio
from decimal import Decimal

_ZERO = Decimal(0)


class RunBudget:
    """USD that all requests may cost together. It is never exceeded by what requests may cost."""

    def __init__(self, usd: Decimal) -> None:
        self.usd = usd
        self.charged = _ZERO
        """USD that ended work cost, or may have cost, and that work in flight may cost."""
        self._in_flight = 0
        self._changed = asyncio.Condition()

    async def reserve(self, usd: Decimal) -> bool:
        """Reserve the most that some work may cost; return False if there is not so much left.

        While other work is in flight, wait: most costs less than it may.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(usd) or not self._in_flight)
            if not self._fits(usd):
                return False
            self.charged += usd
            self._in_flight += 1
            return True

    async def settle(self, reserved: Decimal, usd: Decimal) -> None:
        """Replace the reservation of some work by its cost."""
        async with self._changed:
            self.charged += usd - reserved
            self._in_flight -= 1
            self._changed.notify_all()

    def _fits(self, usd: Decimal) -> bool:
        return self.charged + usd <= self.usd
