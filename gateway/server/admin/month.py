"""The cost of this month's calls for admins, with a forecast."""

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, NamedTuple

import msgspec
from fastapi import APIRouter, Query, Request, Response

from gateway.core import jsonio
from gateway.ledger.export import build_group, format_exact
from gateway.ledger.query_params import LedgerQuery
from gateway.limits.budget_forecast import BudgetForecast, choose_steps, compute_forecast
from gateway.limits.window import find_window
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import get_team
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.queries.month import read_month
from gateway.server.queries.spending_steps import count_spending

_JSON = "application/json"
_HISTORY_SECONDS = 300.0
"""Seconds for which a forecast uses the spending that it has read."""
_MAX_HISTORIES = 1_000

type Texts = Annotated[list[str], Query()]


class _MonthHistory(NamedTuple):
    read_at: float
    amounts: Sequence[Decimal]


def add_routes(router: APIRouter, gateway: Gateway, run_query: LedgerQueries) -> None:
    """Add the route to an admin router. `run_query` runs a function on the store."""
    histories: dict[str, _MonthHistory] = {}

    @router.get("/month", summary="Sum the cost of this month's calls, with a forecast")
    async def month(
        request: Request,
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
    ) -> Response:
        check_parameters(request, "only", "zone")
        now = time.time()
        query = read_ledger_query(
            (),
            since="",
            until="",
            only=only,
            zone=zone or gateway.built_config.source.config.ledger.time_zone,
            now=now,
            team=get_team(request),
        )
        window = find_window("month", now, query.time_zone)
        query = msgspec.structs.replace(query, since=window.start, until=window.end)
        steps, key = choose_steps(window), _make_key(query)
        history = histories.get(key)
        if history is not None and now - history.read_at >= _HISTORY_SECONDS:
            history = None
        state = await run_query(read_month, query, None if history else steps, now)
        if state.amounts is not None:
            if len(histories) >= _MAX_HISTORIES:
                histories.clear()
            history = histories[key] = _MonthHistory(now, state.amounts)
        forecast = None
        if steps is not None and window.end is not None and history is not None:
            used = count_spending(state.total)
            forecast = compute_forecast(used, window.end - now, steps, history.amounts)
        answer = {
            "at": now,
            "zone": query.zone,
            "since": window.start,
            "until": window.end,
            "total": build_group(state.total, ()),
            "forecast": describe_forecast(forecast),
            "damaged_rows": state.damaged_rows,
        }
        return Response(jsonio.dumps(answer), media_type=_JSON)


def describe_forecast(forecast: BudgetForecast | None) -> dict[str, object] | None:
    """Return a forecast as JSON values: amounts are text."""
    if forecast is None:
        return None
    return {name: format_exact(amount) for name, amount in msgspec.structs.asdict(forecast).items()}


def _make_key(query: LedgerQuery) -> str:
    filters = sorted((name, sorted(values)) for name, values in query.only.items())
    return jsonio.dumps([query.zone, filters]).decode()
