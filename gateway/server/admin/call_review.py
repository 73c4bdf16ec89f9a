"""Judgements of admins on recorded calls: a rating, or a golden prompt made of a call."""

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import FeedbackRow, FinalRow
from gateway.core.target import TIERS, Tier
from gateway.runtime.composition import Gateway
from gateway.server.admin.audit import check_audit, record_act
from gateway.server.admin.auth import AdminAuth, may_see_team
from gateway.server.admin.json_body import parse_body
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.query_params import check_parameters
from gateway.server.admin.recorded_call import describe_texts
from gateway.server.admission import Admission
from gateway.server.dashboard.session import MAIN_ADMIN
from gateway.server.feedback import Opinion, find_rated_call, parse_opinion, record_opinion
from gateway.server.queries.golden import GoldenCall, add_golden
from gateway.server.request_headers import RequestHeaders

_JSON = "application/json"
_CREATED = 201
_MAX_BYTES = 4_096
"""The maximum number of bytes of a body."""
_GOLDEN_FILE = "golden.yaml"
_EXAMPLE_RATING = '{"verdict": "good"}'


class GoldenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body that makes a golden prompt: the tier that the prompt should get."""

    tier: Tier
    why: str = ""


_decode_opinion = jsonio.make_reader(Opinion)
_decode_golden = jsonio.make_reader(GoldenBody)


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin/entries", dependencies=[Depends(guard)])
    run_query = LedgerQueries(gateway)

    async def read_body(request: Request) -> bytes:
        check_parameters(request)
        headers = RequestHeaders(request.headers.raw)
        return await admission.read_body(request.receive, headers.length)

    async def find_call(request: Request, name: str) -> tuple[FinalRow, FeedbackRow | None]:
        call, feedback = await find_rated_call(gateway, name)
        if call is None or not may_see_team(request, call.team):
            message = "The ledger has no row of this call. A call gets its row when it ends."
            raise ProblemError(Problem(kind="not_found", message=message))
        return call, feedback

    @router.post("/{name}/rating", summary="Rate the answer of a call; the last rating counts")
    async def rate(request: Request, name: str) -> Response:
        opinion: Opinion = parse_opinion(await read_body(request), _decode_opinion, _EXAMPLE_RATING)
        call, previous = await find_call(request, name)
        await check_audit(gateway)
        await record_opinion(gateway, call, previous, MAIN_ADMIN, opinion)
        await record_act(
            gateway,
            request,
            "call.rate",
            subject=call.id,
            before=None if previous is None else _describe_opinion(previous),
            after=_describe_opinion(opinion),
        )
        answer = {"id": call.id, **_describe_opinion(opinion)}
        return Response(jsonio.dumps(answer), media_type=_JSON)

    @router.post(
        "/{name}/golden",
        summary="Add a call's prompt to golden.yaml in the data folder, for `tiergate test`",
        status_code=_CREATED,
    )
    async def make_golden(request: Request, name: str) -> Response:
        body = _parse_golden(await read_body(request))
        call, _ = await find_call(request, name)
        await check_audit(gateway)
        file = gateway.data / _GOLDEN_FILE
        golden_call = GoldenCall(
            file=file,
            call=call,
            tier=body.tier,
            why=body.why,
            has_key=not gateway.keys.is_open,
            texts=describe_texts(gateway),
        )
        added = await run_query(add_golden, golden_call)
        after = {"file": str(file), "tier": body.tier}
        await record_act(gateway, request, "golden.add", subject=call.id, after=after)
        answer = {"id": call.id, **after, "prompts": added.prompts, "turns": added.turns}
        return Response(jsonio.dumps(answer), _CREATED, media_type=_JSON)

    app.include_router(router)


def _describe_opinion(opinion: Opinion | FeedbackRow) -> dict[str, object]:
    return {"verdict": opinion.verdict, "tier": opinion.tier, "score": opinion.score}


def _parse_golden(data: bytes) -> GoldenBody:
    form = f'It is {{"tier": "smart"}}, one of {", ".join(TIERS)}, with a `why`'
    body: GoldenBody = parse_body(data, _decode_golden, _MAX_BYTES, form)
    return body
