"""The configuration in force, for admins: how it came about, to read it again, to go back."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.runtime.composition import Gateway
from gateway.runtime.reloader import ReloadResult
from gateway.server.admin.auth import AdminAuth

_CONFLICT = 409
_SHOWN = 20
"""Mistakes that one answer tells."""
_JSON = "application/json"

type Switch = Annotated[str, Query(json_schema_extra={"enum": ["true", "false"]})]


def routes(app: FastAPI, gateway: Gateway) -> None:
    """Add them to an app."""
    guard = AdminAuth.of(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)])
    reload = gateway.reload

    @router.get("/config", summary="The configuration in force and how it came about")
    def config() -> Response:
        found = {**reload.state(), "ending": gateway.ending}
        return Response(jsonio.dumps(found), media_type=_JSON)

    @router.post("/reload", summary="Read the configuration again, and put it in force")
    async def again(request: Request, dry_run: Switch = "false") -> Response:
        dry = _dry(request, dry_run)
        return _told(gateway, await reload.read(dry=dry), dry=dry)

    @router.post("/rollback", summary="Go back to the configuration that was in force before")
    async def back(request: Request, dry_run: Switch = "false") -> Response:
        dry = _dry(request, dry_run)
        return _told(gateway, await reload.back(dry=dry), dry=dry)

    @router.get("/shadow", summary="What the candidate would have decided, in this worker")
    def shadow() -> Response:
        if not gateway.shadow.on:
            message = "No candidate decides beside this configuration: routing.shadow names none."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(gateway.shadow.state()), media_type=_JSON)

    app.include_router(router)


def _dry(request: Request, text: str) -> bool:
    for name in request.query_params:
        if name != "dry_run":
            raise invalid(f"There is no parameter {name[:80]!r} here, only dry_run.", name[:80])
    if text not in ("true", "false"):
        raise invalid("dry_run is true or false.", "dry_run")
    return text == "true"


def _told(gateway: Gateway, found: ReloadResult, *, dry: bool) -> Response:
    if found.kind == "unsteady":
        raise _conflict("The files are being written: they are read once they stay as they are.")
    if found.kind == "refused":
        lines = [str(one).removeprefix("error: ") for one in found.mistakes]
        left = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        why = "; ".join([*lines[:_SHOWN], *left])
        raise _conflict(f"Nothing has changed, {gateway.edition.version} is in force: {why}")
    told = {
        "result": "would be taken" if dry and found.kind == "taken" else found.kind,
        "version": gateway.edition.version,
        "found": found.text.version,
        "changes": [
            {"path": one.path, "before": one.before, "after": one.after, "waits": one.waits}
            for one in found.changes
        ],
        "warnings": [str(one) for one in found.text.site.warnings] if found.changes else [],
    }
    return Response(jsonio.dumps(told), media_type=_JSON)


def _conflict(message: str) -> ProblemError:
    return ProblemError(Problem(kind="invalid_request", message=message, status=_CONFLICT))
