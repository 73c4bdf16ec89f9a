"""Feedback of clients on their answers: `POST /v1/feedback`."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from fastapi import FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.ledger_rows import FeedbackRow, FinalRow, Verdict, is_rated_good
from gateway.core.target import Tier
from gateway.ledger.errors import StoreError
from gateway.ledger.query_params import is_storable
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admission import Admission

_MAX_BYTES = 4096
"""The maximum number of bytes of a feedback body."""
_MAX_LOOKUPS = 2
"""The maximum number of concurrent lookups in the store."""
_EXAMPLE_BODY = '{"id": "<x-request-id of the call>", "verdict": "good"}'


class Opinion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A judgement of an answer: at least one of `verdict`, `tier` and `score`."""

    verdict: Verdict | None = None
    tier: Tier | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class FeedbackBody(Opinion, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The feedback on one call."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


_decode_body = jsonio.make_reader(FeedbackBody)


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the endpoint to an app."""
    lookup_slots = asyncio.Semaphore(_MAX_LOOKUPS)

    @app.post("/v1/feedback", summary="Rate an answer")
    async def feedback(request: Request) -> Response:
        headers = request_headers.RequestHeaders(request.headers.raw)
        caller = request_headers.identify(gateway.keys, headers)
        data = await admission.read_body(request.receive, headers.length)
        body: FeedbackBody = parse_opinion(data, _decode_body, _EXAMPLE_BODY)
        async with lookup_slots:
            call, previous_row = await find_rated_call(gateway, body.id)
        if call is None or not _may_judge(call, caller):
            message = "This key has no call with that id. Send the x-request-id of the answer."
            raise ProblemError(Problem(kind="not_found", message=message, param="id"))
        await record_opinion(gateway, call, previous_row, caller.name, body)
        return Response(jsonio.dumps({"id": body.id, "taken": True}), media_type="application/json")


async def record_opinion(
    gateway: Gateway, call: FinalRow, previous: FeedbackRow | None, rater: str, opinion: Opinion
) -> None:
    """Write an opinion on a call to the ledger, unless it is the one that the ledger has.

    `rater` is the name of the key that gives it. A bad answer leaves the cache of near questions.
    """
    row = FeedbackRow(
        id=call.id,
        at=time.time(),
        key=rater,
        tenant=call.tenant,
        verdict=opinion.verdict,
        tier=opinion.tier,
        score=opinion.score,
    )
    if previous is None or _get_opinion(previous) != _get_opinion(row):
        gateway.ledger_runtime.writer(row)
    semantic_cache = gateway.engine.semantic_cache
    if (
        call.near is not None
        and semantic_cache is not None
        and is_rated_good(row.verdict, row.score) is False
    ):
        await semantic_cache.report_bad(call.id)


async def find_rated_call(gateway: Gateway, id: str) -> tuple[FinalRow | None, FeedbackRow | None]:
    """Return a call and its earlier feedback; feed the journals first, as the call may be new."""

    def read_rows() -> tuple[FinalRow | None, FeedbackRow | None]:
        if not is_storable(id):
            return None, None
        row = gateway.store.find_call(gateway.journal_folder, id)
        return row, None if row is None else gateway.store.read_feedback([id]).get(id)

    try:
        return await asyncio.to_thread(read_rows)
    except (OSError, StoreError) as error:
        message = f"The gateway cannot read the ledger ({type(error).__name__}). Try again soon."
        raise ProblemError(Problem(kind="ledger", message=message, retry_after=5)) from None


def parse_opinion[T: Opinion](data: bytes, decode: Callable[[bytes], T], example: str) -> T:
    """Return the opinion in a body. Raises ProblemError: invalid_request, request_too_large."""
    if len(data) > _MAX_BYTES:
        raise ProblemError(
            Problem(kind="request_too_large", message=f"Feedback has at most {_MAX_BYTES} bytes.")
        )
    try:
        body = decode(data)
    except jsonio.JsonError as error:
        message = f"It is {example}, with a tier or a score (0 to 1) if you like: {error}."
        raise invalid_request(message, None) from None
    if body.verdict is None and body.tier is None and body.score is None:
        raise invalid_request('Send a verdict ("good" or "bad"), a tier, or a score.', "verdict")
    return body


def _may_judge(call: FinalRow, caller: Key) -> bool:
    """True if the caller may judge a call: one of its key, or for an admin's key of its tenant."""
    return call.tenant == caller.tenant and (call.key == caller.name or caller.admin)


def _get_opinion(row: FeedbackRow) -> tuple[object, ...]:
    return row.key, row.verdict, row.tier, row.score
