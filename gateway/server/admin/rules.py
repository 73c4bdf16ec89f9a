"""The rules in force for admins: what each has decided, what is in vain, what others would do."""

import asyncio
import time
from functools import partial

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import OPEN
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.core.jsonio import Json
from gateway.ledger import export
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery, ask
from gateway.runtime.build import findings
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admin.auth import AdminAuth
from gateway.server.admin.replay import RulesReplay
from gateway.server.admin.worker_thread import WorkerThread
from gateway.server.admission import Admission
from gateway.settings import rule_source
from gateway.settings.errors import Mistake
from gateway.settings.loader import RULES, ConfigSource

_JSON = "application/json"
_BYTES = 262_144
"""Of a text of rules that is replayed."""
_LISTED = 200


class ReplayRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A replay: the rules, as YAML, and of which calls."""

    rules: str = ""
    """Empty for those that are written."""
    since: str = ""
    until: str = ""
    only: list[str] = []
    limit: int = 20
    """Changed calls that are listed."""


_wanted = jsonio.reader(ReplayRequest)


def routes(app: FastAPI, gateway: Gateway, entrance: Admission) -> None:
    """Add them to an app."""
    guard = AdminAuth.of(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)])
    apart, replays = WorkerThread(gateway), RulesReplay(gateway)

    @router.get("/rules", summary="The rules in force, what they have decided, what is in vain")
    async def rules(request: Request, since: str = "", until: str = "") -> Response:
        for name in request.query_params:
            if name not in ("since", "until"):
                raise invalid(f"There is no parameter {name[:80]!r} here.", name[:80])
        question = _ask(gateway, since, until)
        await apart.feed()
        groups, total = await apart(partial(_decided, gateway, question))
        told = await asyncio.to_thread(_rules, gateway, groups)
        told |= {"since": question.since, "until": question.until, "total": _sums(total)}
        return Response(jsonio.dumps(told), media_type=_JSON)

    @router.post("/replay", summary="What other rules would have done with past calls")
    async def replay(request: Request) -> Response:
        head = request_headers.RequestHeaders(request.headers.raw)
        wanted = _read(await entrance.body(request.receive, head.length))
        question = _ask(gateway, wanted.since, wanted.until, wanted.only)
        found = await replays(wanted.rules, question, wanted.limit, partial(_gone, request))
        found["ok"] = "report" in found
        found["findings"] = [_mistake(one) for one in found["findings"]]
        return Response(jsonio.dumps(found), media_type=_JSON)

    app.include_router(router)


def _read(data: bytes) -> ReplayRequest:
    if len(data) > _BYTES:
        message = f"A replay is asked for with at most {_BYTES:,} bytes."
        raise ProblemError(Problem(kind="request_too_large", message=message))
    try:
        wanted: ReplayRequest = _wanted(data)
    except jsonio.JsonError as error:
        message = f'It is {{"rules": "<YAML>", "since": "7d", "only": ["key:bob"]}}: {error}.'
        raise invalid(message) from None
    if not 0 <= wanted.limit <= _LISTED:
        raise invalid(f"The limit is a number from 0 to {_LISTED}.", "limit")
    return wanted


def _ask(gateway: Gateway, since: str, until: str, only: list[str] | None = None) -> LedgerQuery:
    zone = gateway.site.source.config.ledger.time_zone
    try:
        return ask((), since=since, until=until, only=only or (), zone=zone, now=time.time())
    except LedgerQueryError as error:
        raise invalid(f"{str(error)[:1].upper()}{str(error)[1:]}.", error.part) from None


async def _gone(request: Request) -> None:
    """Until whoever asked is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _decided(gateway: Gateway, question: LedgerQuery) -> tuple[list[QueryGroup], QueryGroup]:
    (total,) = gateway.store.costs((), **question.chosen)
    return gateway.store.costs(("source", "rule"), **question.chosen), total


def _rules(gateway: Gateway, groups: list[QueryGroup]) -> dict[str, Json]:
    """All rules in their order, and what else has decided. Reads files."""
    site = gateway.site
    source, book = site.source, rule_source.book(site.source)
    hits = {str(one.names[1]): one for one in groups if one.names[0] == "rule"}
    keys = [OPEN] if gateway.keys.is_open else gateway.keys.known()
    found = [one for part in RULES for one in _part(source, book, part, hits)]
    known = {one["name"] for one in found if one["kind"] == "choice"}
    return {
        "version": gateway.edition.version,
        "file": book.file,
        "yaml": book.text,
        "rules": found,
        "former": [{"name": name, **_sums(one)} for name, one in hits.items() if name not in known],
        "others": [
            {"source": one.names[0], **_sums(one)} for one in groups if one.names[0] != "rule"
        ],
        "findings": [_mistake(one) for one in findings(site, keys)],
    }


def _part(
    source: ConfigSource, book: rule_source.RuleSource, part: str, hits: dict[str, QueryGroup]
) -> list[dict[str, Json]]:
    config = source.config
    names = [one.name for one in (config.guards if part == "guards" else config.choices)]
    found: list[dict[str, Json]] = []
    for at, name in enumerate(names):
        place = source.mistake((part, at), "")
        decided = hits.get(name) if part == "choices" else None
        found.append(
            {
                "kind": part.removesuffix("s"),
                "at": at,
                "name": name,
                "file": place.file,
                "line": place.line,
                "text": book.slices.get((part, at), ""),
                # What a guard has bounded is in no row: a replay counts it.
                "hits": None if part == "guards" else _sums(decided) if decided else {"calls": 0},
            }
        )
    return found


def _sums(one: QueryGroup) -> dict[str, Json]:
    return {
        name: export.exact(getattr(one, name)) for name in ("calls", "failed", "cost", "unknown")
    }


def _mistake(one: Mistake) -> dict[str, Json]:
    """Return a finding as plain values, and as a line."""
    return {**msgspec.structs.asdict(one), "text": str(one)}
