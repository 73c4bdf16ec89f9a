"""How budgets stand, for admins: what is used of each, at which rate, and until when that lasts."""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request, Response

from gateway.core import jsonio
from gateway.ledger.export import exact
from gateway.ledger.query_params import place
from gateway.limits.budget_status import BudgetStatus, BudgetUse, budgets, standings
from gateway.runtime.composition import Gateway
from gateway.server.admin.query_params import known
from gateway.server.admin.worker_thread import WorkerThread

_JSON = "application/json"


def routes(router: APIRouter, gateway: Gateway, apart: WorkerThread) -> None:
    """Add them to a router of admins; `apart` works on the store off the loop."""

    def spent(some: Sequence[BudgetStatus]) -> list[dict[str | None, Decimal]]:
        return [_spent(gateway, one) for one in some]

    @router.get("/budgets", summary="How budgets stand")
    async def all_budgets(request: Request) -> Response:
        known(request)
        config, keys, now = gateway.site.source.config, gateway.keys.known(), time.time()
        tenants = {"default", *gateway.gate.tenants, *(key.tenant for key in keys)}
        found = list(budgets(config.budgets, keys, tenants, place(config.ledger.time_zone), now))
        used = {one: await gateway.toll.used(one) for one in {b.owner for b in found}}
        await apart.feed()
        known_of = await apart(lambda: spent(found))
        rows = [
            _row(standing, now, several=len(tenants) > 1)
            for one, ledger in zip(found, known_of, strict=True)
            for standing in standings(one, used[one.owner], ledger)
        ]
        told = {"at": now, "zone": config.ledger.time_zone, "budgets": rows}
        return Response(jsonio.dumps(told), media_type=_JSON)


def _spent(gateway: Gateway, one: BudgetStatus) -> dict[str | None, Decimal]:
    """What the ledger knows, by whom a budget counts; of what nobody knows, the most it can be."""
    if one.kind == "share":
        return {}
    by = () if one.apart is None else (one.apart,)
    span = one.window
    groups = gateway.store.costs(by, only=one.only, since=span.start, until=span.end)
    return {
        (group.names[0] if by else None): (group.cost or Decimal(0))
        + (group.reserved or Decimal(0))
        for group in groups
    }


def _row(one: BudgetUse, now: float, *, several: bool) -> dict[str, object]:
    budget, part = one.budget, one.budget.part
    only: Mapping[str, Any] = budget.only
    if one.subject is not None and budget.apart is not None:
        only = {**only, budget.apart: [one.subject]}
    rate = one.rate(now)
    return {
        "name": budget.name,
        "kind": budget.kind,
        "scope": budget.scope(one.subject),
        "tenant": budget.owner,
        "key": budget.key or None,
        "per": budget.apart,
        "subject": one.subject,
        "every": part.every,
        "since": budget.window.start,
        "until": budget.window.end,
        "limit": exact(budget.limit),
        "used": exact(one.used),
        "counted": one.counted,
        "soft": None if part.soft is None else exact(part.soft),
        "hard": part.hard,
        "then": part.then,
        "rate": None if rate is None else exact(rate),
        "runs_out": one.runs_out(now),
        "only": [
            f"{name}={value}"
            for name, values in only.items()
            for value in values
            if several or name != "tenant"
        ],
    }
