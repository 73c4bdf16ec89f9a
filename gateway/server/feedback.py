"""What clients say of answers that they got: `POST /v1/feedback`."""

import asyncio
import time
from typing import Annotated

import msgspec
from fastapi import FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.core.ledger_rows import FeedbackRow, FinalRow, Verdict
from gateway.core.target import Tier
from gateway.ledger.errors import StoreError
from gateway.ledger.query_params import storable
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admission import Admission

_MOST = 4096
"""Bytes of what is said."""
_AT_ONCE = 2
"""That are looked up in the store at once."""
_POOR = 0.5
"""The score below which an answer was bad."""
_FORM = '{"id": "<x-request-id of the call>", "verdict": "good"}'


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of one call: at least one of `verdict`, `tier` and `score`."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    verdict: Verdict | None = None
    tier: Tier | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


_said = jsonio.reader(FeedbackBody)


def routes(app: FastAPI, gateway: Gateway, entrance: Admission) -> None:
    """Add it to an app."""
    turn = asyncio.Semaphore(_AT_ONCE)

    @app.post("/v1/feedback", summary="Say what an answer was worth")
    async def feedback(request: Request) -> Response:
        head = request_headers.RequestHeaders(request.headers.raw)
        caller = request_headers.identify(gateway.keys, head)
        said = _read(await entrance.body(request.receive, head.length))
        async with turn:
            call, before = await _find(gateway, said.id)
        if call is None or not _own(call, caller):
            message = (
                "There is no call of this key with that id: it is the x-request-id of its answer."
            )
            raise ProblemError(Problem(kind="not_found", message=message, param="id"))
        row = FeedbackRow(
            id=said.id,
            at=time.time(),
            key=caller.name,
            tenant=caller.tenant,
            verdict=said.verdict,
            tier=said.tier,
            score=said.score,
        )
        if before is None or _words(before) != _words(row):
            gateway.archive.record(row)
        if call.near is not None and (near := gateway.engine.near) is not None and _bad(row):
            await near.bad(said.id)
        return Response(jsonio.dumps({"id": said.id, "taken": True}), media_type="application/json")


async def _find(gateway: Gateway, id: str) -> tuple[FinalRow | None, FeedbackRow | None]:
    """A call and what was said of it before; a call that has just ended is fed first."""

    def find() -> tuple[FinalRow | None, FeedbackRow | None]:
        if not storable(id):
            return None, None
        row = gateway.store.call(gateway.journal_folder, id)
        return row, None if row is None else gateway.store.feedback([id]).get(id)

    try:
        return await asyncio.to_thread(find)
    except (OSError, StoreError) as error:
        message = f"The ledger cannot be read ({type(error).__name__}). Try again soon."
        raise ProblemError(Problem(kind="ledger", message=message, retry_after=5)) from None


def _read(data: bytes) -> FeedbackBody:
    if len(data) > _MOST:
        raise ProblemError(
            Problem(kind="request_too_large", message=f"Feedback has at most {_MOST} bytes.")
        )
    try:
        said: FeedbackBody = _said(data)
    except jsonio.JsonError as error:
        message = f"It is {_FORM}, with a tier or a score (0 to 1) if you like: {error}."
        raise invalid(message, None) from None
    if said.verdict is None and said.tier is None and said.score is None:
        raise invalid('Say a verdict ("good" or "bad"), a tier, or a score.', "verdict")
    return said


def _own(call: FinalRow, caller: Key) -> bool:
    """Whether a call is the caller's to judge: of its key, or of its tenant for an admin's key."""
    return call.tenant == caller.tenant and (call.key == caller.name or caller.admin)


def _bad(row: FeedbackRow) -> bool:
    return row.verdict == "bad" or (row.score is not None and row.score < _POOR)


def _words(row: FeedbackRow) -> tuple[object, ...]:
    return row.key, row.verdict, row.tier, row.score
