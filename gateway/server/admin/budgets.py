"""The state of budgets, for admins: the amount used, its rate, and when the budget runs out."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

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
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.month import describe_forecast
from gateway.server.admin.query_params import check_parameters
from gateway.server.queries.budgets import SpendingHistory, read_all_spending

_JSON = "application/json"
_HISTORY_SECONDS = 300.0
"""Seconds for which a forecast uses the spending that it has read."""
_MAX_HISTORIES = 10_000


def add_routes(router: APIRouter, gateway: Gateway, run_query: LedgerQueries) -> None:
    """Add the route to an admin router."""
    history_cache = _HistoryCache()

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
        all_steps = [history_cache.choose_steps(status, now) for status in statuses]
        all_spending = await run_query(read_all_spending, statuses, all_steps, now)
        histories = [
            history_cache.keep(status, spending.history, now)
            for status, spending in zip(statuses, all_spending, strict=True)
        ]
        rows = [
            {
                **_render_budget(
                    standing,
                    config.ledger.time_zone,
                    history,
                    now,
                    several=len(tenants) > 1,
                ),
                **_describe_place(gateway, status),
                "damaged_rows": spending.damaged_rows,
            }
            for status, spending, history in zip(statuses, all_spending, histories, strict=True)
            for standing in compute_budget_uses(
                status, used_by_owner[status.owner], spending.amounts
            )
        ]
        answer = {"at": now, "zone": config.ledger.time_zone, "budgets": rows}
        return Response(jsonio.dumps(answer), media_type=_JSON)


def _describe_place(gateway: Gateway, status: BudgetStatus) -> dict[str, object]:
    """Return where a budget is written, and whether /admin/keys can change it."""
    if status.key:
        store = gateway.key_store
        place = None if store is None else store.place
        return {"file": place, "line": None, "editable": gateway.keys.database is not None}
    source = gateway.built_config.source
    index = next(i for i, part in enumerate(source.config.budgets) if part is status.part)
    location = source.make_mistake(("budgets", index), "")
    return {"file": location.file, "line": location.line, "editable": False}


class _CachedHistory(NamedTuple):
    """A history, and the budget and the moment that it is of."""

    part: object
    """The budget as configured; a reload replaces it."""
    read_at: float
    history: SpendingHistory


class _HistoryCache:
    """Keeps each budget's history for a few minutes."""

    def __init__(self) -> None:
        self._histories: dict[tuple[str, str | None, str], _CachedHistory] = {}

    def choose_steps(self, status: BudgetStatus, now: float) -> SpendingSteps | None:
        """Return the steps of the history that must be read.

        None if a recent one is kept, for a share, and for a window without a forecast.
        """
        if status.kind != "usd" or self._find(status, now) is not None:
            return None
        return choose_steps(status.window)

    def keep(
        self, status: BudgetStatus, history: SpendingHistory | None, now: float
    ) -> SpendingHistory | None:
        """Keep the history, if it was read. Return it, or the recent one that is kept."""
        if history is None:
            return self._find(status, now)
        if len(self._histories) >= _MAX_HISTORIES:
            self._histories.clear()
        self._histories[_make_key(status)] = _CachedHistory(status.part, now, history)
        return history

    def _find(self, status: BudgetStatus, now: float) -> SpendingHistory | None:
        cached = self._histories.get(_make_key(status))
        is_recent = (
            cached is not None
            and cached.part is status.part
            and now - cached.read_at < _HISTORY_SECONDS
        )
        return cached.history if cached is not None and is_recent else None


def _make_key(status: BudgetStatus) -> tuple[str, str | None, str]:
    return status.name, status.owner, status.key


def _compute_forecast(
    budget_use: BudgetUse, history: SpendingHistory | None, now: float
) -> BudgetForecast | None:
    end = budget_use.budget.window.end
    if history is None or end is None:
        return None
    amounts = history.amounts.get(budget_use.subject, ())
    return compute_forecast(budget_use.used_amount, end - now, history.steps, amounts)


def _render_budget(
    budget_use: BudgetUse,
    ledger_zone: str,
    history: SpendingHistory | None,
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
