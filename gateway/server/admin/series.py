"""Costs and latency over time, for admins: by minute, hour or day."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from gateway.core.errors import invalid_request
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.time_series import SLOT_LENGTHS, SlotLength, build_slots, choose_slot_length
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import get_team
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.queries.series import SeriesQuery, render_costs, render_latency

_PARAMETERS = ("by", "since", "until", "only", "zone", "every")
_DEFAULT_SINCE = "24h"
_JSON = "application/json"

type Texts = Annotated[list[str], Query()]


def add_routes(router: APIRouter, gateway: Gateway, run_query: LedgerQueries) -> None:
    """Add the routes to an admin router."""

    async def read_series_query(
        request: Request,
        by: Texts = ["tier"],  # noqa: B006 - FastAPI's way to declare
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        every: str = "",
    ) -> SeriesQuery:
        check_parameters(request, *_PARAMETERS)
        zone = zone or gateway.built_config.source.config.ledger.time_zone
        now = time.time()
        query = read_ledger_query(
            by,
            since=since or _DEFAULT_SINCE,
            until=until,
            only=only,
            zone=zone,
            now=now,
            team=get_team(request),
        )
        return _build_series_query(query, every, now)

    @router.get("/series", summary="Sum the cost of calls over time")
    async def costs(series_query: Annotated[SeriesQuery, Depends(read_series_query)]) -> Response:
        return Response(await run_query(render_costs, series_query), media_type=_JSON)

    @router.get("/latency", summary="Get the latency of answered calls over time")
    async def times(series_query: Annotated[SeriesQuery, Depends(read_series_query)]) -> Response:
        return Response(await run_query(render_latency, series_query), media_type=_JSON)


def _build_series_query(query: LedgerQuery, every: str, now: float) -> SeriesQuery:
    if "day" in query.by:
        raise invalid_request("The gateway cannot group a series by day: ask with every=day.", "by")
    if every and every not in SLOT_LENGTHS:
        raise invalid_request(
            f"`every` must be {', '.join(SLOT_LENGTHS[:-1])} or {SLOT_LENGTHS[-1]}.", "every"
        )
    since = query.since or 0.0
    until = now if query.until is None else query.until
    if not 0 <= since < until:
        raise invalid_request("`until` is not after `since`.", "until")
    interval: SlotLength = every or choose_slot_length(since, until)  # type: ignore[assignment]  # one of them
    try:
        return SeriesQuery(query, interval, build_slots(interval, since, until, query.time_zone))
    except (ValueError, OverflowError) as error:
        raise invalid_request(f"{str(error)[:1].upper()}{str(error)[1:]}.", "every") from None
