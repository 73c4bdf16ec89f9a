"""What the turns of each key have scored of late, and the thresholds that come of it.

To note a turn is one addition. Every few seconds what was noted is counted, with other processes
where they share a Redis, and thresholds are made of it: those of a key once it has had `TURNS`
turns, before that those of its tenant once that has, before that none. Losing Redis costs nothing:
each process goes on with what it knows and counts itself, and tells it later. Thresholds stay until
there are newer ones.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from gateway.core.call import Key
from gateway.core.decision import Decision
from gateway.core.evidence import Cut, Thresholds
from gateway.core.target import Tier
from gateway.limits.meter import Lost
from gateway.limits.recent import TURNS, Pool, Recent
from gateway.routing import prior
from gateway.routing.share import SIZE, Most, cell, cut

EVERY = 2.0
"""Seconds between two looks at what was noted."""


class _Scope:
    """All that is known of the turns of a key, or of a tenant."""

    __slots__ = ("above", "fresh", "made", "name", "owed", "recent", "tenant", "told")

    def __init__(self, tenant: str, name: str, above: "_Scope | None" = None) -> None:
        self.tenant = tenant
        self.name = name
        """`key:NAME`, or `tenant`."""
        self.above = above
        """Its tenant."""
        self.fresh = [0] * SIZE
        """What was noted since it was last looked at."""
        self.owed = [0] * SIZE
        """What other processes have not been told of."""
        self.told = False
        """Whether they have been told all, and have told what they know."""
        self.recent = Recent()
        self.made: Thresholds | None = None


class Traffic:
    """The turns of all keys. `own` are the classifier's thresholds; without a pool it is alone."""

    def __init__(self, most: Most, own: Thresholds, pool: Pool | None = None) -> None:
        self._most = most
        self._own = own
        self._pool = pool
        self._keys: dict[tuple[str, str], _Scope] = {}
        self._tenants: dict[str, _Scope] = {}
        self._new = asyncio.Event()
        self.turns: dict[Tier, int] = {"fast": 0, "smart": 0, "reasoning": 0}
        """Turns that this process noted, by the tier that the classifier gave."""
        self.lowered = 0
        """Those of them that a bound sent lower."""

    def thresholds(self, key: Key) -> Thresholds | None:
        """What the turns of a key are held against now; None leaves the classifier its own."""
        scope = self._keys.get((key.tenant, key.name)) or self._meet(key)
        if scope.made is None and scope.above is not None:
            return scope.above.made
        return scope.made

    def note(self, key: Key, decision: Decision) -> None:
        """Count a turn that a classifier decided; any other is none."""
        score, tier = decision.score, decision.classified
        if score is None or tier is None:
            return
        scope = self._keys.get((key.tenant, key.name)) or self._meet(key)
        scope.fresh[cell(score, self._own)] += 1
        self.turns[tier] += 1
        if tier != prior.tier(score, self._own):
            self.lowered += 1

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Make thresholds again and again, until cancelled; for a key that is new at once."""
        while True:
            await self.refresh()
            waits = [asyncio.ensure_future(one) for one in (sleep(EVERY), self._new.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()

    async def refresh(self) -> None:
        """Count what was noted, and make thresholds of it."""
        self._new.clear()
        pool = self._pool
        for scopes in (self._keys, self._tenants):
            for scope in list(scopes.values()):
                if any(scope.fresh) or not scope.told:
                    pool = await self._renew(scope, pool)

    def _meet(self, key: Key) -> _Scope:
        tenant = self._tenants.get(key.tenant)
        if tenant is None:
            tenant = self._tenants[key.tenant] = _Scope(key.tenant, "tenant")
        scope = _Scope(key.tenant, f"key:{key.name}", tenant)
        self._keys[key.tenant, key.name] = scope
        self._new.set()
        return scope

    async def _renew(self, scope: _Scope, pool: Pool | None) -> Pool | None:
        """The pool; None where it was lost: it is not asked again this time."""
        fresh, scope.fresh = scope.fresh, [0] * SIZE
        if scope.above is not None:
            scope.above.fresh = _sum(scope.above.fresh, fresh)
        scope.recent.add(fresh)
        scope.told = self._pool is None
        if self._pool is not None:
            scope.owed = _sum(scope.owed, fresh)
        if pool is not None:
            try:
                scope.recent = await pool.add(scope.tenant, scope.name, scope.owed)
            except Lost:
                pool = None
            else:
                scope.owed, scope.told = [0] * SIZE, True
        counts = scope.recent.counts
        if sum(counts) >= TURNS:
            scope.made = self._thresholds(scope, cut(counts, self._most))
        return pool

    def _thresholds(self, scope: _Scope, found: Cut) -> Thresholds:
        """Their id is made of their numbers: the same in every process that has the same."""
        own = self._own
        end = Cut(reasoning=round(found.reasoning, 6), smart=round(found.smart, 6))
        whose = scope.name.partition(":")[0]
        said = f"{scope.tenant}|{scope.name}|{own.id}|{end.reasoning}|{end.smart}"
        digest = blake2b(said.encode(), digest_size=6).hexdigest()
        return Thresholds(fast=own.fast, smart=own.smart, id=f"{whose}-{digest}", cut=end)


def _sum(one: list[int], other: list[int]) -> list[int]:
    return [few + more for few, more in zip(one, other, strict=True)]
