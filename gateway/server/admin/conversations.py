"""Conversations for admins: which there are, newest first, and what each has cost."""

import re
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gateway.core.errors import invalid_request
from gateway.ledger.conversations import ConversationCursor
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import get_team
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters, parse_limit, read_ledger_query
from gateway.server.queries.conversations import render_conversations

_JSON = "application/json"
_DEFAULT_SINCE = "24h"
_MAX_LISTED, _DEFAULT_LISTED = 200, 50
_CURSOR_PATTERN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,20})?)-([0-9A-Za-z_-]{1,200})")

type Texts = Annotated[list[str], Query()]


def add_routes(router: APIRouter, gateway: Gateway, run_query: LedgerQueries) -> None:
    """Add the route to an admin router. `run_query` runs a function on the store."""

    @router.get("/conversations", summary="List conversations, those with the newest calls first")
    async def conversations(
        request: Request,
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        before: str = "",
        limit: str = str(_DEFAULT_LISTED),
    ) -> Response:
        check_parameters(request, "since", "until", "only", "zone", "before", "limit")
        query = read_ledger_query(
            (),
            since=since or _DEFAULT_SINCE,
            until=until,
            only=only,
            zone=zone or gateway.built_config.source.config.ledger.time_zone,
            now=time.time(),
            team=get_team(request),
        )
        page_limit, cursor = parse_limit(limit, _MAX_LISTED), _parse_cursor(before)
        answer = await run_query(render_conversations, query, cursor, page_limit)
        return Response(answer, media_type=_JSON)


def _parse_cursor(text: str) -> ConversationCursor | None:
    if not text:
        return None
    match = _CURSOR_PATTERN.fullmatch(text)
    if match is None:
        raise invalid_request("before is the `next` of an answer.", "before")
    return ConversationCursor(float(match[1]), match[2])
