"""The results of rules' arms for admins: what differs between the calls in and out."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import get_team
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.queries.arms import render_arms

_JSON = "application/json"
_DEFAULT_SINCE = "24h"

type Texts = Annotated[list[str], Query()]


def add_routes(router: APIRouter, gateway: Gateway, run_query: LedgerQueries) -> None:
    """Add the route to an admin router. `run_query` runs a function on the store."""

    @router.get("/arms", summary="Compare the arms of rules with a part of the traffic")
    async def arms(
        request: Request,
        rule: str = "",
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
    ) -> Response:
        check_parameters(request, "rule", "since", "until", "only", "zone")
        query = read_ledger_query(
            (),
            since=since or _DEFAULT_SINCE,
            until=until,
            only=only,
            zone=zone or gateway.built_config.source.config.ledger.time_zone,
            now=time.time(),
            team=get_team(request),
        )
        return Response(await run_query(render_arms, query, rule), media_type=_JSON)
