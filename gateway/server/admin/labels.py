"""Pairs of answers for admins to compare, blinded: `tiergate label --person` makes them."""

import asyncio
import time
from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.ledger.label_pairs import LabelPair, LabelPairs, PairVerdict, SavedVerdict
from gateway.runtime.composition import Gateway
from gateway.server.admin.audit import check_audit, record_act
from gateway.server.admin.auth import AdminAuth, get_admin
from gateway.server.admin.json_body import parse_body
from gateway.server.admin.query_params import check_parameters
from gateway.server.admission import Admission
from gateway.server.request_headers import RequestHeaders

_JSON = "application/json"
_MAX_BYTES = 4_096
"""The maximum number of bytes of a body."""


class VerdictBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body that says which answer of a pair is better."""

    better: PairVerdict


_decode_verdict = jsonio.make_reader(VerdictBody)


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the routes to an app."""
    router = APIRouter(
        prefix="/admin/labels", dependencies=[Depends(AdminAuth.from_gateway(gateway))]
    )
    pairs = LabelPairs(gateway.data)

    @router.get("", summary="Get two answers to compare, without the names of their models")
    async def show(request: Request) -> Response:
        check_parameters(request)
        answer = await _run(lambda: _describe_next(pairs))
        return Response(jsonio.dumps(answer), media_type=_JSON)

    @router.post("/{name}", summary="Say which answer of a pair is better; the last verdict counts")
    async def compare(request: Request, name: str) -> Response:
        check_parameters(request)
        headers = RequestHeaders(request.headers.raw)
        body = _parse_verdict(await admission.read_body(request.receive, headers.length))
        if not await _run(lambda: any(pair.id == name for pair in pairs.read_pairs())):
            message = "There is no such pair: its label may be written already."
            raise ProblemError(Problem(kind="not_found", message=message))
        await check_audit(gateway)
        verdict = SavedVerdict(
            pair=name, better=body.better, who=get_admin(request).name, at=time.time()
        )
        await _run(lambda: pairs.add_verdict(verdict))
        await record_act(
            gateway, request, "label.compare", subject=name, after={"better": body.better}
        )
        answer = {"id": name, "better": body.better}
        return Response(jsonio.dumps(answer), media_type=_JSON)

    app.include_router(router)


async def _run[T](work: Callable[[], T]) -> T:
    """Run work on the files of pairs in a thread. Raises ProblemError: ledger."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        message = f"The gateway cannot read or write the pairs: {error.strerror}."
        raise ProblemError(Problem(kind="ledger", message=message)) from None


def _describe_next(pairs: LabelPairs) -> dict[str, Json]:
    """Return the next pair without a verdict, and how many there are."""
    all_pairs, verdicts = pairs.read_pairs(), pairs.read_verdicts()
    waiting = [pair for pair in all_pairs if pair.id not in verdicts]
    return {
        "pairs": len(all_pairs),
        "waiting": len(waiting),
        "pair": _describe_pair(waiting[0]) if waiting else None,
    }


def _describe_pair(pair: LabelPair) -> dict[str, Json]:
    """Return a pair as a person may see it: nothing tells the tiers of its answers."""
    return {
        # The id names the lower tier, and nobody sees which of the two answers is its.
        "id": pair.id,
        "request": pair.request,
        "A": pair.first.text,
        "B": pair.second.text,
    }


def _parse_verdict(data: bytes) -> VerdictBody:
    form = 'It is {"better": "A"}, one of A, B, same and skip'
    body: VerdictBody = parse_body(data, _decode_verdict, _MAX_BYTES, form)
    return body
