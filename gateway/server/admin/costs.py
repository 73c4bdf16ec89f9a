"""The costs of calls, and the calls themselves, for admins and their programs."""

import re
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.ledger_rows import AttemptRow
from gateway.ledger import export
from gateway.ledger.call_order import NEWEST_FIRST, CallOrder, CallSearch
from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery, is_storable, limit_search, parse_order
from gateway.ledger.store import LedgerStore, StoredRow, count_damaged_rows
from gateway.runtime.composition import Gateway
from gateway.server.admin import budgets, conversations, month, series
from gateway.server.admin.auth import AdminAuth, get_team, may_see_team
from gateway.server.admin.query_params import (
    check_parameters,
    read_ledger_query,
    translate_query_errors,
)
from gateway.server.admin.worker_thread import WorkerThread

_MAX_ROWS, _DEFAULT_ROWS = 10_000, 1_000
"""The maximum and the default number of rows in one answer."""
_BATCH_ROWS = 200
"""The maximum number of rows in one read."""
_CSV, _JSON = "text/csv; charset=utf-8", "application/json"
_CONTENT_TYPES = {"ndjson": "application/x-ndjson", "csv": _CSV, "json": _JSON}

_ORDERS = ("came", "newest")
_PAGE_PARAMETERS = ("order", "sort", "search", "after", "before")
_MAX_SEARCH_CHARS = 200
_MAX_SEARCH_SECONDS = 10.0
"""The longest time in which the store reads a page."""

type Texts = Annotated[list[str], Query()]


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)])
    worker_thread = WorkerThread(gateway)

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
        await worker_thread.ingest_journals()
        groups, total, damaged_rows = await worker_thread(partial(_read_sums, gateway, query))
        headers = {"x-tiergate-damaged-rows": str(damaged_rows)} if damaged_rows else {}
        if format == "csv":
            text = export.format_groups_csv(query.by, groups)
            return Response(text, media_type=_CSV, headers=headers)
        sums = export.build_sums(query, groups, total, damaged_rows=damaged_rows)
        return Response(jsonio.dumps(sums), media_type=_JSON, headers=headers)

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
        remaining = _parse_limit(limit)
        page = RowPage(query, format, after)
        if is_ordered:
            with translate_query_errors():
                call_order = parse_order(sort)
                if search or call_order.name != NEWEST_FIRST.name:
                    query = limit_search(query, now)
            call_search = _build_search(gateway, search) if search else None
            page = OrderedRowPage(query, format, before, call_order, call_search)
        await worker_thread.ingest_journals()
        # In batches, so that other requests get their turn: no call waits for a long page.
        while remaining and await worker_thread(
            partial(page.read, gateway.store, min(remaining, _BATCH_ROWS))
        ):
            remaining -= min(remaining, _BATCH_ROWS)
        headers = {"x-tiergate-cursor": page.cursor} if page.cursor else {}
        if page.has_more:
            parameters = [
                (key, value)
                for key, value in request.query_params.multi_items()
                if key != page.page_parameter
            ]
            url = f"/admin/entries?{urlencode([*parameters, (page.page_parameter, page.position)])}"
            headers["link"] = f'<{url}>; rel="next"'
        return StreamingResponse(
            page.stream_body(), media_type=_CONTENT_TYPES[format], headers=headers
        )

    @router.get("/entries/{name}", summary="Get one call and its failed attempts")
    async def entry(request: Request, name: str) -> Response:
        row, attempts = await worker_thread(partial(_read_call, gateway, name))
        if row is None or not may_see_team(request, row.team):
            message = "The ledger has no row of this call. A call gets its row when it ends."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(export.build_call(row, attempts)), media_type=_JSON)

    series.add_routes(router, gateway, worker_thread)
    budgets.add_routes(router, gateway, worker_thread)
    conversations.add_routes(router, gateway, worker_thread)
    month.add_routes(router, gateway, worker_thread)
    app.include_router(router)


class RowPage:
    """Rows in the requested format and in ledger order, read in batches."""

    page_parameter = "after"
    """The query parameter that leads to the next page."""

    def __init__(self, query: LedgerQuery, format: str, position: str) -> None:
        self.position = position
        """The start of the next page, a value of `page_parameter`; empty before the first page."""
        self.has_more = False
        """True if more rows may follow."""
        self._query = query
        self._format = format
        self._chunks: list[bytes] = [export.format_rows_csv(()).encode()] if format == "csv" else []

    def read(self, store: LedgerStore, limit: int) -> bool:
        """Read and encode the next rows. Return True if more may follow. Blocks."""
        selection = {**self._query.selection, "zone": self._query.time_zone}
        rows = self._read_rows(store, selection, limit)
        if rows:
            self._chunks.append(self._encode_rows(rows))
        self.has_more = len(rows) == limit
        return self.has_more

    @property
    def cursor(self) -> str:
        """The cursor from which a follower of these rows continues."""
        return self.position

    def _read_rows(
        self, store: LedgerStore, selection: dict[str, Any], limit: int
    ) -> Sequence[StoredRow]:
        try:
            rows = store.read_entries(**selection, after_cursor=self.position or None, limit=limit)
        except ValueError:
            raise invalid_request(
                "This store has no such cursor. Start without a cursor.", "after"
            ) from None
        self.position = rows[-1].cursor if rows else self.position
        return rows

    def _encode_rows(self, rows: Sequence[StoredRow]) -> bytes:
        if self._format == "csv":
            return export.format_rows_csv(rows, has_header=False).encode()
        if self._format == "json":
            return b",".join(jsonio.dumps(export.build_row(row)) for row in rows)
        return export.format_rows_jsonl(rows)

    async def stream_body(self) -> AsyncIterator[bytes]:
        """Yield the encoded rows."""
        if self._format != "json":
            for chunk in self._chunks:
                yield chunk
            return
        yield b'{"entries":['
        for index, chunk in enumerate(self._chunks):
            yield chunk if index == 0 else b"," + chunk
        yield b'],"cursor":' + jsonio.dumps(self.cursor or None) + b"}"


class OrderedRowPage(RowPage):
    """Rows like those of RowPage, but in an order of the caller, and of the calls with a text."""

    page_parameter = "before"
    _cursor = ""

    def __init__(
        self,
        query: LedgerQuery,
        format: str,
        position: str,
        order: CallOrder,
        search: CallSearch | None,
    ) -> None:
        super().__init__(query, format, position)
        self._order = order
        self._search = search

    @property
    def cursor(self) -> str:
        """The cursor for followers, as in RowPage: rows that arrive from now on come after it."""
        return self._cursor

    def _read_rows(
        self, store: LedgerStore, selection: dict[str, Any], limit: int
    ) -> Sequence[StoredRow]:
        position = self.position if is_storable(self.position) else "\N{REPLACEMENT CHARACTER}"
        try:
            rows, cursor = store.read_ordered(
                **selection,
                order=self._order,
                search=self._search,
                before_id=position or None,
                limit=limit,
                max_seconds=_MAX_SEARCH_SECONDS,
            )
        except ValueError:
            raise invalid_request("The ledger has no call of this id.", "before") from None
        self._cursor = self._cursor or cursor  # the first batch's: followers see later rows
        self.position = rows[-1].id if rows else self.position
        return rows


def _build_search(gateway: Gateway, text: str) -> CallSearch:
    """Return a search for a text, also as the name of an end user. Raises ProblemError."""
    if not is_storable(text) or len(text) > _MAX_SEARCH_CHARS:
        message = f"`search` is a text of at most {_MAX_SEARCH_CHARS} characters."
        raise invalid_request(message, "search")
    keys = [OPEN_KEY] if gateway.keys.is_open else gateway.keys.list_keys()
    hasher = gateway.end_user_hasher
    hashes = [hasher.hash_id(key.tenant, key.name, text) for key in keys]
    return CallSearch(text, tuple(name for name in hashes if name is not None))


def _read_sums(gateway: Gateway, query: LedgerQuery) -> tuple[list[QueryGroup], QueryGroup, int]:
    """Return groups, their total, and the number of rows that the journals lack."""
    store = gateway.store
    (total,) = store.sum_costs((), **query.selection)
    groups = store.sum_costs(query.by, zone=query.time_zone, **query.selection)
    damages = store.read_damages(since=query.since, until=query.until)
    return groups, total, count_damaged_rows(damages)


def _read_call(gateway: Gateway, name: str) -> tuple[StoredRow | None, list[AttemptRow]]:
    if not is_storable(name):
        return None, []
    row = gateway.store.find_call(gateway.journal_folder, name)
    return row, [] if row is None else gateway.store.read_attempts(name)


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
