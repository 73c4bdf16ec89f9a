"""Figures for Prometheus: open, since no label is a client's word, unless keys are labels."""

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response

from gateway.compose import Gateway
from gateway.http.guard import Guard
from gateway.telemetry.metrics import Gauge

_STRICT = "application/openmetrics-text"


def routes(app: FastAPI, gateway: Gateway, in_flight: Callable[[], int]) -> None:
    """Add them to an app; `in_flight` tells how many calls are being served."""
    metrics = gateway.archive.metrics
    metrics.watch([Gauge("calls_in_flight", "Calls that are being served.", in_flight)])
    guards = [Depends(Guard.of(gateway))] if metrics.keys else []
    extra: dict[str, Any] = {} if guards else {"security": []}

    @app.get("/metrics", summary="Figures for Prometheus", dependencies=guards, openapi_extra=extra)
    def figures(request: Request) -> Response:
        strict = _STRICT in request.headers.get("accept", "")
        data, kind = metrics.render(openmetrics=strict)
        return Response(data, media_type=kind)
