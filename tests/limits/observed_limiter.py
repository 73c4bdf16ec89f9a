"""A limiter with everything around it: its counter store can fail, and its messages are kept."""

from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.core.price import Price
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import Provider, Target, Tier
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    MissingCounter,
    Owner,
    Refusal,
)
from gateway.limits.limiter import Limiter
from gateway.limits.memory import MemoryCounters
from gateway.limits.rules import LimitRules
from gateway.limits.window import Window
from gateway.settings.schema.limits import BudgetPart, LimitPart
from gateway.state.errors import StoreUnavailable

PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(4)), version="v1")
CALL = Call(
    id="c1", dialect="openai-chat", operation="generate", body=b"{}", received_at=1e9, started_at=0
)  # fmt: skip
PROMPT = Prompt(model="auto", chars=500, max_output=100)
HELD = 1_900
"""Reserved micro-USD: 1,500 tokens of the prompt at 1, 100 tokens at 4 USD a million."""


def target(name: str = "m", price: Price | None = PRICE, **more: Any) -> Target:
    return Target(provider=Provider(name="p", urls={}), model=name, price=price, **more)


def plan(*targets: Target) -> Plan:
    return Plan(targets=targets or (target(),), dialects=("openai-chat",) * (len(targets) or 1))


def decision(tier: Tier | None = "smart") -> Decision:
    return Decision(lab="l", tier=tier, source="rule")


def entry(id: str = "c1", **more: Any) -> FinalRow:
    values = {"state": "settled", "tier": "smart", "attempts": 1, "input": 7, "output": 3}
    values |= {"cost": Decimal("0.000019"), "wasted": Decimal(0)}
    return FinalRow(id=id, at=1e9, key="k", dialect="openai-chat", config="c", **{**values, **more})


LOST = "counted in this process alone, calls under hard budgets refused"
"""What the log says once the counter store is lost."""


class Shaky(MemoryCounters):
    """A counter store that tests can make unavailable."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.lost:
            raise StoreUnavailable

    async def admit(self, ask: AdmissionRequest, now: float) -> Admitted | Refusal | MissingCounter:
        self._ask()
        return await super().admit(ask, now)

    async def extend(
        self, ask: AdmissionRequest, now: float
    ) -> Admitted | Refusal | MissingCounter:
        self._ask()
        return await super().extend(ask, now)

    async def claim_user(
        self, tenant: str, key: str, user: str, window: Window, max_users: int, now: float
    ) -> bool:
        self._ask()
        return await super().claim_user(tenant, key, user, window, max_users, now)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro: int | None) -> bool:
        self._ask()
        return await super().settle(tenant, id, tokens, micro)


class ObservedLimiter:
    """A limiter, and everything that it logs and alerts."""

    def __init__(
        self,
        *parts: LimitPart | BudgetPart,
        closed: bool = False,
        shares: int = 1,
        spent: int = 0,
    ) -> None:
        self.meter, self.spare = Shaky(), MemoryCounters()
        self.log: list[dict[str, object]] = []
        self.alerts: list[str] = []
        self.now = 1e9
        self.gate = Limiter(
            LimitRules(
                [part for part in parts if isinstance(part, LimitPart)],
                [part for part in parts if isinstance(part, BudgetPart)],
                UTC,
            ),
            self.meter,
            lambda event, **fields: self.log.append({"event": event, **fields}),
            read_spent=self.seed,
            alert=lambda _, need: self.alerts.append(need.name),
            make_local_store=lambda: self.spare,
            fails_closed=closed,
            share_count=shares,
            wall=lambda: self.now,
        )
        self.spent = spent

    async def seed(self, _: Owner, __: CounterDemand) -> int:
        return self.spent

    async def ask(
        self,
        id: str = "c1",
        *,
        tier: Tier | None = "smart",
        targets: Sequence[Target] = (),
        again: Callable[[Tier], tuple[Decision, Plan]] | None = None,
        **more: Any,
    ) -> tuple[Decision, Plan]:
        bound = self.want(id, **more)
        reservation = await self.gate.reserve(bound, decision(tier), plan(*targets), again or lower)
        return reservation.decision, reservation.plan

    def want(
        self,
        id: str = "c1",
        *,
        prompt: Prompt = PROMPT,
        prompt_bound: int | None = 1_500,
        **more: Any,
    ) -> UsageBound:
        return UsageBound(
            call=msgspec.structs.replace(CALL, id=id, **more),
            prompt=prompt,
            prompt_tokens=125,
            prompt_bound=prompt_bound,
        )

    async def end(self, id: str = "c1", **more: Any) -> None:
        self.gate.settle(entry(id, **more))
        await self.gate.wait_settled()

    async def used(self, meter: MemoryCounters | None = None) -> int | None:
        counters = meter or self.meter
        values = [
            *(await counters.read_counters(None)).values(),
            *(await counters.read_counters("default")).values(),
        ]
        return values[0] if values else None

    async def refused(self, id: str = "c1", **more: Any) -> Problem:
        with pytest.raises(ProblemError) as caught:
            await self.ask(id, **more)
        return caught.value.problem


def lower(ceiling: Tier) -> tuple[Decision, Plan]:
    return decision(ceiling), plan(target("cheap"))


def budget(usd: str | None = "0.01", **more: Any) -> BudgetPart:
    return BudgetPart.model_validate({"name": "b", "usd": usd, "every": "day", **more})


def limit(**more: Any) -> LimitPart:
    return LimitPart.model_validate({"name": "l", **more})
