"""What calls cost, and the calls themselves, for admins and their programs."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.compose import Gateway
from gateway.core import jsonio
from gateway.core.entry import Attempt
from gateway.core.problem import Problem, ProblemError, invalid
from gateway.http.guard import Guard
from gateway.ledger import export
from gateway.ledger.query import Group
from gateway.ledger.question import Question, QuestionError, ask, storable
from gateway.ledger.store import Store, Stored, StoreError
from gateway.settings.mistake import nearest

_AT_ONCE = 2
"""Questions that are worked on at once; others wait, so that the journal is never kept waiting."""
_MOST, _USUAL = 10_000, 1_000
"""Rows of one answer."""
_PIECE = 200
"""Rows that are read at once."""
_CSV, _JSON = "text/csv; charset=utf-8", "application/json"
_KINDS = {"ndjson": "application/x-ndjson", "csv": _CSV, "json": _JSON}

type Texts = Annotated[list[str], Query()]


def routes(app: FastAPI, gateway: Gateway) -> None:
    """Add them to an app."""
    guard = Guard.of(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)])
    turn = asyncio.Semaphore(_AT_ONCE)

    async def apart[T](work: Callable[[], T]) -> T:
        """Some work on the store, off the loop."""
        try:
            async with turn:
                return await asyncio.to_thread(work)
        except (OSError, StoreError) as error:
            message = f"The ledger cannot be read: {error}."
            raise ProblemError(Problem(kind="ledger", message=message)) from None

    def feed() -> None:
        gateway.store.feed(gateway.journal_folder)

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
        _known(request, "by", "since", "until", "only", "zone", "format")
        _form(format, "json", "csv")
        zone = zone or gateway.site.source.config.ledger.time_zone
        question = _ask(by, since=since, until=until, only=only, zone=zone)
        await apart(feed)
        groups, total = await apart(partial(_sums, gateway, question))
        if format == "csv":
            return Response(export.sheet(question.by, groups), media_type=_CSV)
        return Response(jsonio.dumps(export.sums(question, groups, total)), media_type=_JSON)

    @router.get("/entries", summary="Calls, one row each, in the order in which they ended")
    async def entries(
        request: Request,
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        after: str = "",
        limit: str = str(_USUAL),
        format: str = "ndjson",
    ) -> Response:
        _known(request, "since", "until", "only", "zone", "after", "limit", "format")
        _form(format, *_KINDS)
        zone = zone or gateway.site.source.config.ledger.time_zone
        question = _ask((), since=since, until=until, only=only, zone=zone)
        left, found = _limit(limit), Page(question, format, after)
        await apart(feed)
        # In pieces, between which others have their turn: no call waits for a long page.
        while left and await apart(partial(found.read, gateway.store, min(left, _PIECE))):
            left -= min(left, _PIECE)
        headers = {"x-tiergate-cursor": found.cursor} if found.cursor else {}
        if found.more:
            asked = [(k, v) for k, v in request.query_params.multi_items() if k != "after"]
            url = f"/admin/entries?{urlencode([*asked, ('after', found.cursor)])}"
            headers["link"] = f'<{url}>; rel="next"'
        return StreamingResponse(found.body(), media_type=_KINDS[format], headers=headers)

    @router.get("/entries/{name}", summary="One call, and its attempts that gave no answer")
    async def entry(name: str) -> Response:
        row, tries = await apart(partial(_call, gateway, name))
        if row is None:
            message = "The ledger has no row of this call: it may still be running."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(export.call(row, tries)), media_type=_JSON)

    app.include_router(router)


class Page:
    """Rows in the form that was asked for, read a piece at a time."""

    def __init__(self, question: Question, format: str, after: str) -> None:
        self.cursor = after
        """Of the last row; empty before the first of all."""
        self.more = False
        """Whether there may be rows behind."""
        self._question = question
        self._format = format
        self._parts: list[bytes] = [export.cells(()).encode()] if format == "csv" else []

    def read(self, store: Store, limit: int) -> bool:
        """Read rows and write them down; whether there may be more. Blocks."""
        try:
            chosen, zone = self._question.chosen, self._question.place
            rows = store.entries(**chosen, zone=zone, after=self.cursor or None, limit=limit)
        except ValueError:
            raise invalid("This cursor is none of this store's.", "after") from None
        if rows:
            self.cursor = rows[-1].cursor
            self._parts.append(self._write(rows))
        self.more = len(rows) == limit
        return self.more

    def _write(self, rows: Sequence[Stored]) -> bytes:
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


def _sums(gateway: Gateway, question: Question) -> tuple[list[Group], Group]:
    (total,) = gateway.store.costs((), **question.chosen)
    return gateway.store.costs(question.by, zone=question.place, **question.chosen), total


def _call(gateway: Gateway, name: str) -> tuple[Stored | None, list[Attempt]]:
    if not storable(name):
        return None, []
    row = gateway.store.call(gateway.journal_folder, name)
    return row, [] if row is None else gateway.store.attempts(name)


def _known(request: Request, *names: str) -> None:
    """A parameter that is written wrong must not be left out in silence."""
    for name in request.query_params:
        if name not in names:
            hint = nearest(name[:80], names)
            raise invalid(f"There is no parameter {name[:80]!r} here. {hint}".rstrip(), name[:80])


def _form(format: str, *forms: str) -> None:
    if format not in forms:
        raise invalid(f"The format is {' or '.join(forms)}.", "format")


def _limit(text: str) -> int:
    limit = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 0 < limit <= _MOST:
        raise invalid(f"The limit is a number from 1 to {_MOST}.", "limit")
    return limit


def _ask(by: Sequence[str], *, since: str, until: str, only: Sequence[str], zone: str) -> Question:
    try:
        return ask(by, since=since, until=until, only=only, zone=zone, now=time.time())
    except QuestionError as error:
        raise invalid(f"{str(error)[:1].upper()}{str(error)[1:]}.", error.part) from None
