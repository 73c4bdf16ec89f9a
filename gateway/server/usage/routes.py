"""`GET /v1/usage`: what a key has spent and what is left of its budgets; `/usage` is its page."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from fastapi import APIRouter, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import invalid_request
from gateway.ledger.export import build_group
from gateway.ledger.query_params import LedgerQuery, load_time_zone
from gateway.limits.budget_status import BudgetStatus, compute_budget_uses, iter_budgets
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.disconnect import WatchedRoute
from gateway.server.inline_page import load_page, render_page
from gateway.server.queries.usage import read_usage
from gateway.server.usage.own_budgets import counts_key, is_shared, render_own_budget

_MAX_SECONDS = 366 * 86_400
"""The longest time that one request may ask for: each day has a row for each model."""
_SUMS = (
    *("calls", "cached", "failed", "input", "cache_read", "cache_write", "output", "reasoning"),
    *("cost", "unknown"),
)
"""The sums of a group that the owner of a key sees."""


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the endpoint and its page to an app."""
    run_query, router = LedgerQueries(gateway), APIRouter(route_class=WatchedRoute)

    @router.get("/v1/usage", summary="Get what the caller's key has spent, and what is left")
    async def usage(request: Request, since: str = "", until: str = "", zone: str = "") -> Response:
        key = request_headers.identify_caller(gateway.keys, request)
        check_parameters(request, "since", "until", "zone")
        now = time.time()
        query = _read_query(gateway, key, since, until, zone, now)
        statuses = _list_budgets(gateway, key, now)
        own_statuses = [status for status in statuses if not is_shared(status, key)]
        key_usage = await run_query(read_usage, query, own_statuses)
        budgets = await _render_budgets(
            gateway, key, statuses, own_statuses, key_usage.all_spending
        )
        answer = {
            "at": now,
            "zone": query.zone,
            "key": key.name,
            "since": query.since,
            "until": query.until,
            "total": _select_sums(build_group(key_usage.total, ())),
            "days": [
                {"day": row["day"], "model": row["model"], **_select_sums(row)}
                for row in (build_group(group, query.by) for group in key_usage.groups)
            ],
            "budgets": budgets,
            "damaged_rows": key_usage.damaged_rows,
        }
        return Response(
            jsonio.dumps(answer),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    @router.get("/usage", include_in_schema=False)
    def page() -> Response:
        return render_page(load_page(__package__))

    app.include_router(router)


def _read_query(
    gateway: Gateway, key: Key, since: str, until: str, zone: str, now: float
) -> LedgerQuery:
    """Return the query for a key's calls by day and model; since the month began by default."""
    zone = zone or gateway.built_config.source.config.ledger.time_zone
    query = read_ledger_query(
        ("day", "model"), since=since, until=until, only=(), zone=zone, now=now
    )
    start = query.since
    if not since:
        local_time = datetime.fromtimestamp(now, query.time_zone)
        start = datetime(local_time.year, local_time.month, 1, tzinfo=query.time_zone).timestamp()
    if start is None or (query.until or now) - start > _MAX_SECONDS:
        raise invalid_request("One request may ask for at most 366 days.", "since")
    return LedgerQuery(
        by=query.by,
        since=start,
        until=query.until,
        zone=zone,
        only={"key": [key.name], "tenant": [key.tenant]},
    )


def _select_sums(row: dict[str, object]) -> dict[str, object]:
    return {name: row[name] for name in _SUMS}


def _list_budgets(gateway: Gateway, key: Key, now: float) -> list[BudgetStatus]:
    config = gateway.built_config.source.config
    statuses = iter_budgets(
        config.budgets, [key], [key.tenant], load_time_zone(config.ledger.time_zone), now
    )
    return [status for status in statuses if counts_key(status, key)]


async def _render_budgets(
    gateway: Gateway,
    key: Key,
    statuses: Sequence[BudgetStatus],
    own_statuses: Sequence[BudgetStatus],
    all_spending: Sequence[Mapping[str | None, Decimal]],
) -> list[dict[str, object]]:
    """Return all budgets; `all_spending` is the spending of those that are the key's own."""
    counters = {
        owner: await gateway.limit_runtime.read_counters(owner)
        for owner in {status.owner for status in own_statuses}
    }
    spending_by_name = {
        (status.name, status.owner, status.key): spending
        for status, spending in zip(own_statuses, all_spending, strict=True)
    }
    rows: list[dict[str, object]] = []
    for status in statuses:
        spending = spending_by_name.get((status.name, status.owner, status.key), {})
        uses = compute_budget_uses(status, counters.get(status.owner), spending)
        rows += render_own_budget(status, key, uses)
    return rows
