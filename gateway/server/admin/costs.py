"""The costs of calls, and the calls themselves, for admins and their programs."""

import re
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.ledger_rows import AttemptRow, FeedbackRow
from gateway.ledger import export
from gateway.ledger.call_order import NEWEST_FIRST, CallSearch
from gateway.ledger.query_params import is_storable, limit_search, parse_order
from gateway.ledger.store import StoredRow
from gateway.runtime.composition import Gateway
from gateway.server.admin import arms, budgets, conversations, month, series
from gateway.server.admin.auth import AdminAuth, get_team, may_see_team
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import (
    check_parameters,
    read_ledger_query,
    translate_query_errors,
)
from gateway.server.admin.worker_thread import WorkerThread
from gateway.server.disconnect import WatchedRoute
from gateway.server.queries.costs import render_sums
from gateway.server.queries.entries import RowOrder, read_page

_MAX_ROWS, _DEFAULT_ROWS = 10_000, 1_000
"""The maximum and the default number of rows in one answer."""
_JSON = "application/json"
_CONTENT_TYPES = {
    "ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "json": _JSON,
}  # fmt: skip

_ORDERS = ("came", "newest")
_PAGE_PARAMETERS = ("order", "sort", "search", "after", "before")
_MAX_SEARCH_CHARS = 200

type Texts = Annotated[list[str], Query()]


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)], route_class=WatchedRoute)
    worker_thread, run_query = WorkerThread(gateway), LedgerQueries(gateway)

    @router.get("/costs", summary="Sum the cost of calls")
    async def costs(
        request: Request,
        by: Texts = ["tier"],  # noqa: B006 - FastAPI's way to declare
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        format: str = "json",
    ) -> Response:
        check_parameters(request, "by", "since", "until", "only", "zone", "format")
        _check_format(format, "json", "csv")
        zone = zone or gateway.built_config.source.config.ledger.time_zone
        query = read_ledger_query(
            by, since=since, until=until, only=only, zone=zone, team=get_team(request)
        )
        body, damaged_rows = await run_query(render_sums, query, format)
        headers = {"x-tiergate-damaged-rows": str(damaged_rows)} if damaged_rows else {}
        return Response(body, media_type=_CONTENT_TYPES[format], headers=headers)

    @router.get("/entries", summary="List calls, one row each, in the order in which they ended")
    async def entries(  # noqa: PLR0913 - one for each parameter
        request: Request,
        *,
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        order: str = "",
        sort: str = "",
        search: str = "",
        after: str = "",
        before: str = "",
        limit: str = str(_DEFAULT_ROWS),
        format: str = "ndjson",
    ) -> Response:
        check_parameters(
            request, "since", "until", "only", "zone", *_PAGE_PARAMETERS, "limit", "format"
        )
        _check_format(format, *_CONTENT_TYPES)
        is_ordered = bool(sort or search) or order == _ORDERS[1]
        _check_order(order, sort or search, after, before)
        zone = zone or gateway.built_config.source.config.ledger.time_zone
        now = time.time()
        query = read_ledger_query(
            (), since=since, until=until, only=only, zone=zone, now=now, team=get_team(request)
        )
        row_order = None
        if is_ordered:
            with translate_query_errors():
                call_order = parse_order(sort)
                if search or call_order.name != NEWEST_FIRST.name:
                    query = limit_search(query, now)
            call_search = _build_search(gateway, search) if search else None
            row_order = RowOrder(call_order, call_search)
        page_parameter = "before" if is_ordered else "after"
        page = await run_query(
            read_page, query, format, row_order, before or after, _parse_limit(limit)
        )
        headers = {"x-tiergate-cursor": page.cursor} if page.cursor else {}
        if page.has_more:
            parameters = [
                (key, value)
                for key, value in request.query_params.multi_items()
                if key != page_parameter
            ]
            url = f"/admin/entries?{urlencode([*parameters, (page_parameter, page.position)])}"
            headers["link"] = f'<{url}>; rel="next"'
        return StreamingResponse(
            _stream(page.chunks), media_type=_CONTENT_TYPES[format], headers=headers
        )

    @router.get("/entries/{name}", summary="Get one call, its failed attempts and its feedback")
    async def entry(request: Request, name: str) -> Response:
        row, attempts, feedback = await worker_thread(partial(_read_call, gateway, name))
        if row is None or not may_see_team(request, row.team):
            message = "The ledger has no row of this call. A call gets its row when it ends."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(export.build_call(row, attempts, feedback)), media_type=_JSON)

    series.add_routes(router, gateway, run_query)
    arms.add_routes(router, gateway, run_query)
    budgets.add_routes(router, gateway, run_query)
    conversations.add_routes(router, gateway, run_query)
    month.add_routes(router, gateway, run_query)
    app.include_router(router)


async def _stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _build_search(gateway: Gateway, text: str) -> CallSearch:
    """Return a search for a text, also as the name of an end user. Raises ProblemError."""
    if not is_storable(text) or len(text) > _MAX_SEARCH_CHARS:
        message = f"`search` is a text of at most {_MAX_SEARCH_CHARS} characters."
        raise invalid_request(message, "search")
    keys = [OPEN_KEY] if gateway.keys.is_open else gateway.keys.list_keys()
    hasher = gateway.end_user_hasher
    hashes = [hasher.hash_id(key.tenant, key.name, text) for key in keys]
    return CallSearch(text, tuple(name for name in hashes if name is not None))


def _read_call(
    gateway: Gateway, name: str
) -> tuple[StoredRow | None, list[AttemptRow], FeedbackRow | None]:
    """Return a call with its failed attempts, and the last feedback on it."""
    row = None
    if is_storable(name):
        row = gateway.store.find_call(gateway.journal_folder, name)
    if row is None:
        return None, [], None
    return row, gateway.store.read_attempts(name), gateway.store.read_feedback([name]).get(name)


def _check_order(order: str, sorts: str, after: str, before: str) -> None:
    """Refuse parameters that contradict each other. `sorts` is set if there is another order."""
    if order not in ("", *_ORDERS):
        raise invalid_request(f"The order is {' or '.join(_ORDERS)}.", "order")
    if order == _ORDERS[0] and sorts:
        raise invalid_request("order=came has neither `sort` nor `search`: leave it out.", "order")
    is_ordered = bool(sorts) or order == _ORDERS[1]
    if before and not is_ordered:
        raise invalid_request(
            "`before` needs order=newest. Without it, page with `after`.", "before"
        )
    if after and is_ordered:
        raise invalid_request(
            "order=newest, `sort` and `search` page with `before`. To use `after`, leave them out.",
            "after",
        )


def _check_format(format: str, *formats: str) -> None:
    if format not in formats:
        raise invalid_request(f"The format is {' or '.join(formats)}.", "format")


def _parse_limit(text: str) -> int:
    limit = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 0 < limit <= _MAX_ROWS:
        raise invalid_request(f"The limit is a number from 1 to {_MAX_ROWS}.", "limit")
    return limit
