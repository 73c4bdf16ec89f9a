"""The rules in force, for admins: their matches and findings, and replays of other rules."""

import asyncio
import time
from functools import partial

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.ledger import export
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery, parse_query
from gateway.runtime.build import list_findings
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admin.auth import AdminAuth
from gateway.server.admin.json_body import parse_body
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.admin.replay import RulesReplay
from gateway.server.admission import Admission
from gateway.server.disconnect import WatchedRoute, wait_for_disconnect
from gateway.server.queries.rules import RuleKind, RuleMatches, read_matches
from gateway.settings import rule_source
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.rule_hints import RULE_SECTIONS

_JSON = "application/json"
_MAX_BYTES = 262_144
"""The maximum number of bytes of a replay request."""
_MAX_LISTED = 200


class ReplayRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A replay request: the rules, as YAML, and the filters of the calls."""

    rules: str = ""
    """The rules as YAML; empty for the rules in the configuration files."""
    since: str = ""
    until: str = ""
    only: list[str] = []
    limit: int = 20
    """The number of changed calls to list."""


_decode_request = jsonio.make_reader(ReplayRequest)


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)], route_class=WatchedRoute)
    run_query, rules_replay = LedgerQueries(gateway), RulesReplay(gateway)

    @router.get("/rules", summary="List the rules in force, their matches, and unreachable rules")
    async def rules(request: Request, since: str = "", until: str = "") -> Response:
        for name in request.query_params:
            if name not in ("since", "until"):
                raise invalid_request(f"There is no parameter {name[:80]!r} here.", name[:80])
        query = _build_query(gateway, since, until)
        matches = await run_query(read_matches, query)
        answer = await asyncio.to_thread(_render_rules, gateway, matches)
        answer |= {
            "since": query.since,
            "until": query.until,
            "total": _render_sums(matches.total),
            "damaged_rows": matches.damaged_rows,
        }
        return Response(jsonio.dumps(answer), media_type=_JSON)

    @router.post("/replay", summary="Replay past calls with other rules")
    async def replay(request: Request) -> Response:
        headers = request_headers.RequestHeaders(request.headers.raw)
        replay_request = _parse_request(await admission.read_body(request.receive, headers.length))
        query = _build_query(
            gateway, replay_request.since, replay_request.until, replay_request.only
        )
        result = await rules_replay(
            replay_request.rules,
            query,
            replay_request.limit,
            partial(wait_for_disconnect, request),
        )
        result["ok"] = "report" in result
        result["findings"] = [_render_mistake(mistake) for mistake in result["findings"]]
        return Response(jsonio.dumps(result), media_type=_JSON)

    app.include_router(router)


def _parse_request(data: bytes) -> ReplayRequest:
    form = 'The body must be {"rules": "<YAML>", "since": "7d", "only": ["key:bob"]}'
    replay_request: ReplayRequest = parse_body(
        data, _decode_request, _MAX_BYTES, form, "The body of a replay"
    )
    if not 0 <= replay_request.limit <= _MAX_LISTED:
        raise invalid_request(f"The limit is a number from 0 to {_MAX_LISTED}.", "limit")
    return replay_request


def _build_query(
    gateway: Gateway, since: str, until: str, only: list[str] | None = None
) -> LedgerQuery:
    zone = gateway.built_config.source.config.ledger.time_zone
    try:
        return parse_query(
            (), since=since, until=until, only=only or (), zone=zone, now=time.time()
        )
    except LedgerQueryError as error:
        raise invalid_request(
            f"{str(error)[:1].upper()}{str(error)[1:]}.", error.parameter
        ) from None


def _render_rules(gateway: Gateway, matches: RuleMatches) -> dict[str, Json]:
    """Return all rules in their order, and the other sources of decisions. Reads files."""
    built_config = gateway.built_config
    source, rule_file = built_config.source, rule_source.read_rule_source(built_config.source)
    keys = [OPEN_KEY] if gateway.keys.is_open else gateway.keys.list_keys()
    rules = [
        item
        for section in RULE_SECTIONS
        for item in _render_section(source, rule_file, section, matches)
    ]
    names_in_force = {(item["kind"], item["name"]) for item in rules}
    return {
        "version": gateway.revision.version,
        "file": rule_file.file,
        "yaml": rule_file.text,
        "rules": rules,
        "former": [
            {"kind": kind, "name": name, **_render_sums(group)}
            for kind, groups in matches.hits.items()
            for name, group in groups.items()
            if (kind, name) not in names_in_force
        ],
        "others": [{"source": group.names[0], **_render_sums(group)} for group in matches.others],
        "findings": [_render_mistake(item) for item in list_findings(built_config, keys)],
    }


def _render_section(
    source: ConfigSource,
    rule_file: rule_source.RuleSource,
    section: str,
    matches: RuleMatches,
) -> list[dict[str, Json]]:
    config = source.config
    kind: RuleKind = "guard" if section == "guards" else "choice"
    names = [rule.name for rule in (config.guards if kind == "guard" else config.choices)]
    rules: list[dict[str, Json]] = []
    for index, name in enumerate(names):
        location = source.make_mistake((section, index), "")
        group = matches.hits[kind].get(name)
        rules.append(
            {
                "kind": kind,
                "at": index,
                "name": name,
                "file": location.file,
                "line": location.line,
                "text": rule_file.slices.get((section, index), ""),
                "hits": {"calls": 0} if group is None else _render_sums(group),
            }
        )
    return rules


def _render_sums(group: QueryGroup) -> dict[str, Json]:
    return {
        name: export.format_exact(getattr(group, name))
        for name in ("calls", "failed", "cost", "unknown")
    }


def _render_mistake(mistake: Mistake) -> dict[str, Json]:
    """Return a finding as plain values and as one line of text."""
    return {**msgspec.structs.asdict(mistake), "text": str(mistake)}
