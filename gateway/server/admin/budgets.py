"""The state of budgets, for admins: the amount used, its rate, and when the budget runs out."""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from gateway.core import jsonio
from gateway.ledger.export import format_exact
from gateway.ledger.query_params import load_time_zone
from gateway.limits.budget_forecast import (
    BudgetForecast,
    SpendingSteps,
    choose_steps,
    compute_forecast,
)
from gateway.limits.budget_status import BudgetStatus, BudgetUse, compute_budget_uses, iter_budgets
from gateway.limits.rules import split_user
from gateway.runtime.composition import Gateway
from gateway.server.admin.month import describe_forecast
from gateway.server.admin.query_params import check_parameters
from gateway.server.admin.worker_thread import WorkerThread
from gateway.server.queries.spending_steps import count_spending, read_steps

_JSON = "application/json"
_HISTORY_SECONDS = 300.0
"""Seconds for which a forecast uses the spending that it has read."""
_MAX_HISTORIES = 10_000
_MAX_USERS = 20
"""The most end users of a budget, the dearest."""


def add_routes(router: APIRouter, gateway: Gateway, worker_thread: WorkerThread) -> None:
    """Add the route to an admin router. `worker_thread` works on the store off the event loop."""
    histories: dict[tuple[str, str | None, str], _SpendingHistory] = {}

    def read_all_spending(
        statuses: Sequence[BudgetStatus], now: float
    ) -> list[tuple[dict[str | None, Decimal], _SpendingHistory | None]]:
        return [
            (read_spending(gateway, status), _find_history(gateway, histories, status, now))
            for status in statuses
        ]

    @router.get("/budgets", summary="Get the state of budgets")
    async def all_budgets(request: Request) -> Response:
        check_parameters(request)
        config = gateway.built_config.source.config
        keys = gateway.keys.list_keys()
        now = time.time()
        tenants = {"default", *gateway.limiter.tenants, *(key.tenant for key in keys)}
        statuses = list(
            iter_budgets(
                config.budgets, keys, tenants, load_time_zone(config.ledger.time_zone), now
            )
        )
        used_by_owner = {
            owner: await gateway.limit_runtime.read_counters(owner)
            for owner in {status.owner for status in statuses}
        }
        await worker_thread.ingest_journals()
        all_spending = await worker_thread(lambda: read_all_spending(statuses, now))
        rows = [
            _render_budget(
                standing, config.ledger.time_zone, history, now, several=len(tenants) > 1
            )
            for status, (spending, history) in zip(statuses, all_spending, strict=True)
            for standing in compute_budget_uses(status, used_by_owner[status.owner], spending)
        ]
        answer = {"at": now, "zone": config.ledger.time_zone, "budgets": rows}
        return Response(jsonio.dumps(answer), media_type=_JSON)


def read_spending(gateway: Gateway, status: BudgetStatus) -> dict[str | None, Decimal]:
    """Return a budget's spending in the ledger by subject. Unknown costs count at the maximum."""
    if status.kind == "share":
        return {}
    by = () if status.apart is None else (status.apart,)
    window = status.window
    if status.apart == "user":
        groups = gateway.store.sum_costs(
            ("key", "user"), only=status.filters, since=window.start, until=window.end
        )
        named_groups = [group for group in groups if group.names[1] is not None]
        return {
            "/".join(map(str, group.names)): count_spending(group)
            for group in named_groups[:_MAX_USERS]
        }
    groups = gateway.store.sum_costs(by, only=status.filters, since=window.start, until=window.end)
    return {(group.names[0] if by else None): count_spending(group) for group in groups}


class _SpendingHistory(msgspec.Struct, frozen=True):
    """The spending in the steps before a moment, by subject."""

    part: object
    """The budget as configured; a reload replaces it."""
    read_at: float
    steps: SpendingSteps
    amounts: Mapping[str | None, Sequence[Decimal]]


def _find_history(
    gateway: Gateway,
    histories: dict[tuple[str, str | None, str], _SpendingHistory],
    status: BudgetStatus,
    now: float,
) -> _SpendingHistory | None:
    """Return the recent spending of a budget, which is read from the store every few minutes.

    None for a share, and for a window without a forecast.
    """
    steps = choose_steps(status.window) if status.kind == "usd" else None
    if steps is None:
        return None
    key = status.name, status.owner, status.key
    history = histories.get(key)
    if (
        history is None
        or history.part is not status.part
        or now - history.read_at >= _HISTORY_SECONDS
    ):
        if len(histories) >= _MAX_HISTORIES:
            histories.clear()
        history = histories[key] = _read_history(gateway, status, steps, now)
    return history


def _read_history(
    gateway: Gateway, status: BudgetStatus, steps: SpendingSteps, now: float
) -> _SpendingHistory:
    by = () if status.apart is None else (status.apart,)
    amounts = read_steps(gateway.store, by, status.filters, steps, now)
    return _SpendingHistory(status.part, now, steps, amounts)


def _compute_forecast(
    budget_use: BudgetUse, history: _SpendingHistory | None, now: float
) -> BudgetForecast | None:
    end = budget_use.budget.window.end
    if history is None or end is None:
        return None
    amounts = history.amounts.get(budget_use.subject, ())
    return compute_forecast(budget_use.used_amount, end - now, history.steps, amounts)


def _render_budget(
    budget_use: BudgetUse,
    ledger_zone: str,
    history: _SpendingHistory | None,
    now: float,
    *,
    several: bool,
) -> dict[str, object]:
    budget, part = budget_use.budget, budget_use.budget.part
    only: Mapping[str, Any] = budget.filters
    if budget.apart == "user" and budget_use.subject is not None:
        key, user = split_user(budget_use.subject)
        only = {**only, "key": [key], "user": [user]}
    elif budget_use.subject is not None and budget.apart is not None:
        only = {**only, budget.apart: [budget_use.subject]}
    rate = budget_use.compute_rate(now)
    forecast = _compute_forecast(budget_use, history, now)
    return {
        "name": budget.name,
        "kind": budget.kind,
        "scope": budget.describe_scope(budget_use.subject),
        "tenant": budget.owner,
        "key": budget.key or None,
        "per": budget.apart,
        "subject": budget_use.subject,
        "every": part.every,
        "zone": part.time_zone or ledger_zone,
        "since": budget.window.start,
        "until": budget.window.end,
        "limit": format_exact(budget.limit),
        "rise": format_exact(budget.rise) if budget.rise else None,
        "rise_until": budget.rise_end,
        "used": format_exact(budget_use.used_amount),
        "counted": budget_use.from_counters,
        "soft": None if part.soft is None else format_exact(part.soft),
        "hard": part.hard,
        "then": part.then,
        "rate": None if rate is None else format_exact(rate),
        "runs_out": budget_use.predict_exhaustion(now),
        "forecast": describe_forecast(forecast),
        "only": [
            f"{name}={value}"
            for name, values in only.items()
            for value in values
            if several or name != "tenant"
        ],
    }
