"""`/health` and `/ready`, for supervisors and load balancers: without a key, and always answered.

A stranger learns one word. Readers of metrics also learn versions and reasons.
"""

from fastapi import FastAPI, Request, Response

from gateway.core import jsonio
from gateway.runtime.composition import VERSION, Gateway
from gateway.server.metrics import MetricsGuard
from gateway.server.readiness import Readiness

PROBES = frozenset({"/health", "/ready"})
"""Paths that the gateway answers under any Host: load balancers use any name, or none."""
_UNAVAILABLE = 503


def add_routes(
    app: FastAPI, gateway: Gateway, readiness: Readiness, metrics_guard: MetricsGuard
) -> None:
    """Add the endpoints to an app; `metrics_guard` decides who learns details."""

    async def render_status(request: Request, status: str, **details: str) -> bytes:
        """Return the gateway's health as JSON, with details for readers of metrics."""
        fields = {"status": status}
        if await metrics_guard.may_read_details(request):
            fields |= {"version": VERSION, "config": gateway.revision.version, **details}
        return jsonio.dumps(fields)

    @app.head("/", include_in_schema=False)
    @app.head("/api/hello", include_in_schema=False)
    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Check that the process answers")
    async def alive(request: Request) -> Response:
        return Response(await render_status(request, "ok"), media_type="application/json")

    @app.head("/ready", include_in_schema=False)
    @app.get(
        "/ready",
        summary="Check that the gateway can serve calls",
        responses={_UNAVAILABLE: {"description": "Why every call would be refused"}},
    )
    async def ready(request: Request) -> Response:
        unready = await readiness()
        if unready is None:
            body = await render_status(request, "ok", **_list_degraded_parts(gateway))
            return Response(body, media_type="application/json")
        body = await render_status(request, unready.status, reason=unready.reason)
        return Response(body, _UNAVAILABLE, media_type="application/json")


def _list_degraded_parts(gateway: Gateway) -> dict[str, str]:
    """Return what is wrong with parts without which the gateway serves calls, by part."""
    parts = {"ledger": "rebuilding"} if gateway.store.state().rebuilding else {}
    if (database := gateway.keys.database) is not None and database.failure:
        parts["keys"] = database.describe_failure()
    return parts
