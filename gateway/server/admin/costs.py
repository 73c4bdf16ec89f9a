"""What calls cost, and the calls themselves, for admins and their programs."""

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.core.ledger_rows import AttemptRow
from gateway.ledger import export
from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery, storable
from gateway.ledger.store import LedgerStore, StoredRow
from gateway.runtime.composition import Gateway
from gateway.server.admin import budgets, series
from gateway.server.admin.auth import AdminAuth
from gateway.server.admin.query_params import asked, known
from gateway.server.admin.worker_thread import WorkerThread

_MOST, _USUAL = 10_000, 1_000
"""Rows of one answer."""
_PIECE = 200
"""Rows that are read at once."""
_CSV, _JSON = "text/csv; charset=utf-8", "application/json"
_KINDS = {"ndjson": "application/x-ndjson", "csv": _CSV, "json": _JSON}

_ORDERS = ("came", "newest")
_PLACES = ("order", "after", "before")

type Texts = Annotated[list[str], Query()]


def routes(app: FastAPI, gateway: Gateway) -> None:
    """Add them to an app."""
    guard = AdminAuth.of(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)])
    apart = WorkerThread(gateway)

    @router.get("/costs", summary="What calls cost, added up")
    async def costs(
        request: Request,
        by: Texts = ["tier"],  # noqa: B006 - FastAPI's way to declare
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        format: str = "json",
    ) -> Response:
        known(request, "by", "since", "until", "only", "zone", "format")
        _form(format, "json", "csv")
        zone = zone or gateway.site.source.config.ledger.time_zone
        question = asked(by, since=since, until=until, only=only, zone=zone)
        await apart.feed()
        groups, total = await apart(partial(_sums, gateway, question))
        if format == "csv":
            return Response(export.sheet(question.by, groups), media_type=_CSV)
        return Response(jsonio.dumps(export.sums(question, groups, total)), media_type=_JSON)

    @router.get("/entries", summary="Calls, one row each, in the order in which they ended")
    async def entries(  # noqa: PLR0913 - one for each parameter
        request: Request,
        *,
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        order: str = _ORDERS[0],
        after: str = "",
        before: str = "",
        limit: str = str(_USUAL),
        format: str = "ndjson",
    ) -> Response:
        known(request, "since", "until", "only", "zone", *_PLACES, "limit", "format")
        _form(format, *_KINDS)
        _ordered(order, after, before)
        zone = zone or gateway.site.source.config.ledger.time_zone
        question = asked((), since=since, until=until, only=only, zone=zone)
        left = _limit(limit)
        found = (
            LatestRowPage(question, format, before)
            if order == _ORDERS[1]
            else RowPage(question, format, after)
        )
        await apart.feed()
        # In pieces, between which others have their turn: no call waits for a long page.
        while left and await apart(partial(found.read, gateway.store, min(left, _PIECE))):
            left -= min(left, _PIECE)
        headers = {"x-tiergate-cursor": found.cursor} if found.cursor else {}
        if found.more:
            same = [(k, v) for k, v in request.query_params.multi_items() if k != found.goes_on]
            url = f"/admin/entries?{urlencode([*same, (found.goes_on, found.place)])}"
            headers["link"] = f'<{url}>; rel="next"'
        return StreamingResponse(found.body(), media_type=_KINDS[format], headers=headers)

    @router.get("/entries/{name}", summary="One call, and its attempts that gave no answer")
    async def entry(name: str) -> Response:
        row, tries = await apart(partial(_call, gateway, name))
        if row is None:
            message = "The ledger has no row of this call: it may still be running."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(export.call(row, tries)), media_type=_JSON)

    series.routes(router, gateway, apart)
    budgets.routes(router, gateway, apart)
    app.include_router(router)


class RowPage:
    """Rows in the form that was asked for, in the order in which they came in, read in pieces."""

    goes_on = "after"
    """The parameter that leads on to the next page."""

    def __init__(self, question: LedgerQuery, format: str, place: str) -> None:
        self.place = place
        """Where the next page begins, as `goes_on` says it; empty before the first of all."""
        self.more = False
        """Whether there may be rows behind."""
        self._question = question
        self._format = format
        self._parts: list[bytes] = [export.cells(()).encode()] if format == "csv" else []

    def read(self, store: LedgerStore, limit: int) -> bool:
        """Read rows and write them down; whether there may be more. Blocks."""
        chosen = {**self._question.chosen, "zone": self._question.place}
        rows = self._rows(store, chosen, limit)
        if rows:
            self._parts.append(self._write(rows))
        self.more = len(rows) == limit
        return self.more

    @property
    def cursor(self) -> str:
        """Where whoever has these rows goes on as a follower."""
        return self.place

    def _rows(self, store: LedgerStore, chosen: dict[str, Any], limit: int) -> Sequence[StoredRow]:
        try:
            rows = store.entries(**chosen, after=self.place or None, limit=limit)
        except ValueError:
            raise invalid("This cursor is none of this store's.", "after") from None
        self.place = rows[-1].cursor if rows else self.place
        return rows

    def _write(self, rows: Sequence[StoredRow]) -> bytes:
        if self._format == "csv":
            return export.cells(rows, head=False).encode()
        if self._format == "json":
            return b",".join(jsonio.dumps(export.row(one)) for one in rows)
        return export.lines(rows)

    async def body(self) -> AsyncIterator[bytes]:
        """What was read."""
        if self._format != "json":
            for part in self._parts:
                yield part
            return
        yield b'{"entries":['
        for at, part in enumerate(self._parts):
            yield part if at == 0 else b"," + part
        yield b'],"cursor":' + jsonio.dumps(self.cursor or None) + b"}"


class LatestRowPage(RowPage):
    """The same, the calls that were received last first."""

    goes_on = "before"
    _cursor = ""

    @property
    def cursor(self) -> str:
        """As RowPage has it: what comes in from now on comes after it."""
        return self._cursor

    def _rows(self, store: LedgerStore, chosen: dict[str, Any], limit: int) -> Sequence[StoredRow]:
        before = self.place if storable(self.place) else "\N{REPLACEMENT CHARACTER}"
        try:
            rows, cursor = store.newest(**chosen, before=before or None, limit=limit)
        except ValueError:
            raise invalid("The ledger has no call of this id.", "before") from None
        self._cursor = self._cursor or cursor  # of the first piece: what comes meanwhile is told
        self.place = rows[-1].id if rows else self.place
        return rows


def _sums(gateway: Gateway, question: LedgerQuery) -> tuple[list[QueryGroup], QueryGroup]:
    (total,) = gateway.store.costs((), **question.chosen)
    return gateway.store.costs(question.by, zone=question.place, **question.chosen), total


def _call(gateway: Gateway, name: str) -> tuple[StoredRow | None, list[AttemptRow]]:
    if not storable(name):
        return None, []
    row = gateway.store.call(gateway.journal_folder, name)
    return row, [] if row is None else gateway.store.attempts(name)


def _ordered(order: str, after: str, before: str) -> None:
    if order not in _ORDERS:
        raise invalid(f"The order is {' or '.join(_ORDERS)}.", "order")
    if order == _ORDERS[0] and before:
        raise invalid("`before` goes with order=newest; else go on with `after`.", "before")
    if order == _ORDERS[1] and after:
        raise invalid("order=newest goes on with `before`; follow with `after` alone.", "after")


def _form(format: str, *forms: str) -> None:
    if format not in forms:
        raise invalid(f"The format is {' or '.join(forms)}.", "format")


def _limit(text: str) -> int:
    limit = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 0 < limit <= _MOST:
        raise invalid(f"The limit is a number from 1 to {_MOST}.", "limit")
    return limit
