"""The configuration in force, for admins: show its history, reload it, roll it back."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, conflict, invalid_request
from gateway.runtime.composition import Gateway
from gateway.runtime.reloader import ReloadResult
from gateway.server.admin.audit import check_audit, record_act
from gateway.server.admin.auth import AdminAuth

_MAX_MISTAKES = 20
"""The maximum number of mistakes in one answer."""
_JSON = "application/json"

type Switch = Annotated[str, Query(json_schema_extra={"enum": ["true", "false"]})]


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin", dependencies=[Depends(guard)])
    reloader = gateway.reloader

    async def change_config(
        request: Request, dry_run: str, act: str, work: Callable[..., Awaitable[ReloadResult]]
    ) -> Response:
        """Change the configuration, and write to the audit what has changed."""
        is_dry_run, version = _parse_dry_run(request, dry_run), gateway.revision.version
        if not is_dry_run:
            await check_audit(gateway)
        result = await work(dry=is_dry_run)
        if not is_dry_run and result.kind == "taken":
            changes = [msgspec.structs.asdict(item) for item in result.changes]
            after = {"version": result.config.version, "changes": changes}
            await record_act(gateway, request, act, before={"version": version}, after=after)
        return _render_result(gateway, result, is_dry_run=is_dry_run)

    @router.get("/config", summary="Get the configuration in force and its history")
    def config() -> Response:
        state = {**reloader.state(), "ending": gateway.retiring_count}
        return Response(jsonio.dumps(state), media_type=_JSON)

    @router.post("/reload", summary="Reload the configuration")
    async def again(request: Request, dry_run: Switch = "false") -> Response:
        return await change_config(request, dry_run, "config.reload", reloader.read)

    @router.post("/rollback", summary="Restore the previous configuration")
    async def back(request: Request, dry_run: Switch = "false") -> Response:
        return await change_config(request, dry_run, "config.rollback", reloader.roll_back)

    @router.get("/shadow", summary="Get the report on the candidate, of this worker")
    def shadow() -> Response:
        if not gateway.shadow.is_enabled:
            message = "No candidate decides beside this configuration: routing.shadow names none."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(gateway.shadow.state()), media_type=_JSON)

    app.include_router(router)


def _parse_dry_run(request: Request, text: str) -> bool:
    for name in request.query_params:
        if name != "dry_run":
            raise invalid_request(
                f"There is no parameter {name[:80]!r} here, only dry_run.", name[:80]
            )
    if text not in ("true", "false"):
        raise invalid_request("dry_run is true or false.", "dry_run")
    return text == "true"


def _render_result(gateway: Gateway, result: ReloadResult, *, is_dry_run: bool) -> Response:
    if result.kind == "unsteady":
        raise conflict("The files are still changing: the gateway reads them when they stop.")
    if result.kind == "refused":
        lines = [str(item).removeprefix("error: ") for item in result.mistakes]
        omission = [f"and {len(lines) - _MAX_MISTAKES} more"] if len(lines) > _MAX_MISTAKES else []
        reason = "; ".join([*lines[:_MAX_MISTAKES], *omission])
        raise conflict(f"Nothing has changed, {gateway.revision.version} is in force: {reason}")
    answer = {
        "result": "would be taken" if is_dry_run and result.kind == "taken" else result.kind,
        "version": gateway.revision.version,
        "found": result.config.version,
        "changes": [
            {"path": item.path, "before": item.before, "after": item.after, "waits": item.waits}
            for item in result.changes
        ],
        "warnings": [str(item) for item in result.config.built_config.warnings]
        if result.changes
        else [],
    }
    return Response(jsonio.dumps(answer), media_type=_JSON)
