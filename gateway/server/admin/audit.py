"""The audit, for admins: who changed what. And how requests of admins write to it."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.ledger.query_params import parse_audit_query
from gateway.limits.errors import KeyStoreError
from gateway.limits.key_loading import list_audit_places
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth, get_admin
from gateway.server.admin.query_params import check_parameters, parse_limit, translate_query_errors
from gateway.state.audit import is_cursor, read_audit

_JSON = "application/json"
_MAX_ROWS = 1_000
_RETRY_SECONDS = 5.0


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the route to an app."""
    router = APIRouter(prefix="/admin", dependencies=[Depends(AdminAuth.from_gateway(gateway))])

    @router.get("/audit", summary="List what admins have changed, newest first")
    async def audit(
        request: Request,
        since: str = "",
        until: str = "",
        who: str = "",
        act: str = "",
        subject: str = "",
        limit: str = "100",
        before: str = "",
    ) -> Response:
        check_parameters(request, "since", "until", "who", "act", "subject", "limit", "before")
        if before and not is_cursor(before):
            raise invalid_request("before is the `next` of an answer.", "before")
        zone = gateway.built_config.source.config.ledger.time_zone
        with translate_query_errors():
            query = parse_audit_query(
                since=since,
                until=until,
                who=who,
                act=act,
                subject=subject,
                zone=zone,
                now=time.time(),
            )
        max_count = parse_limit(limit, _MAX_ROWS)
        places = list_audit_places(gateway.audit, gateway.key_store)
        try:
            page = await asyncio.to_thread(read_audit, places, query, max_count, before)
        except (OSError, KeyStoreError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"The gateway cannot read its audit: {reason}."
            raise ProblemError(Problem(kind="ledger", message=message)) from None
        answer = {"rows": page.rows, "next": page.cursor}
        return Response(jsonio.dumps(answer), media_type=_JSON)

    app.include_router(router)


async def check_audit(gateway: Gateway) -> None:
    """Check before an act that its row can be written. Raises ProblemError: ledger."""
    try:
        await asyncio.to_thread(gateway.audit.check)
    except OSError as error:
        raise make_audit_error(error) from None


async def record_act(gateway: Gateway, request: Request, act: str, **values: Any) -> None:
    """Write an act that was done; log that it could not be written."""
    admin = get_admin(request)
    try:
        await asyncio.to_thread(gateway.audit.append, act, who=admin.name, via=admin.via, **values)
    except OSError as error:
        gateway.log("audit", act=act, who=admin.name, error=error.strerror)


def make_audit_error(error: OSError) -> ProblemError:
    """Return the refusal of an act whose row cannot be written."""
    message = f"The gateway cannot write its audit, so it changes nothing: {error.strerror}."
    return ProblemError(Problem(kind="ledger", message=message, retry_after=_RETRY_SECONDS))
