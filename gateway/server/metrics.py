"""Metrics for Prometheus at `/metrics`, and who may read them.

No label is a client's word, unless keys or tenants are labels. But metrics tell what is spent, and
on which models: where keys exist, they need a key too.
"""

import hmac
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response

from gateway.core.errors import Problem, ProblemError
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth, key_of
from gateway.server.dashboard.session import digest
from gateway.server.host_header import is_loopback
from gateway.server.request_headers import RequestHeaders
from gateway.telemetry.metrics import GaugeMetric

_STRICT = "application/openmetrics-text"
_CLOSED = Problem(
    kind="invalid_api_key",
    message="Metrics need a key here. Set metrics.key and send it as `Authorization: Bearer <key>`,"
    " or set metrics.open to true.",
)


class MetricsGuard:
    """A FastAPI dependency that lets readers of metrics pass, and says who may read them.

    Everybody may where the gateway has no keys, and where the operator says so. A gateway that
    listens on this machine alone is no exception: a proxy beside it passes strangers on.
    """

    def __init__(self, gateway: Gateway) -> None:
        part = gateway.site.source.config.metrics
        self._admins = AdminAuth.of(gateway)
        self._keys = gateway.keys
        self._digest = digest(part.key) if part.key else b""
        known = self._admins.sessions.needed
        closed = (known or not gateway.keys.is_open) and not part.open
        self.discreet = closed and not is_loopback(gateway.host)
        """True if strangers may be told no details of health: other machines reach the gateway."""
        named = part.keys or part.tenants
        self.needed = closed or named
        """True if metrics need a key, since keys exist or since they name keys or tenants."""
        self._admitted = known or named

    async def __call__(self, request: Request) -> None:
        """Pass, or raise ProblemError: invalid_api_key, not_allowed, rate_limited."""
        secrets = RequestHeaders(request.headers.raw).secrets
        if self._digest and len(secrets) == 1:
            (secret,) = secrets
            if hmac.compare_digest(digest(secret), self._digest):
                return
        if not self._admitted:
            for secret in secrets:
                if key_of(self._keys, secret) is None:
                    self._keys.guesses.count(secret)
            raise ProblemError(_CLOSED)
        await self._admins(request)

    async def passes(self, request: Request) -> bool:
        """True if a request may know how the gateway is in detail."""
        if not self.discreet:
            return True
        try:
            await self(request)
        except ProblemError:
            return False
        return True


def routes(
    app: FastAPI, gateway: Gateway, guard: MetricsGuard, in_flight: Callable[[], int]
) -> None:
    """Add them to an app; `in_flight` tells how many calls are being served."""
    metrics = gateway.archive.metrics
    metrics.watch([GaugeMetric("calls_in_flight", "Calls that are being served.", in_flight)])
    guards = [Depends(guard)] if guard.needed else []
    extra: dict[str, Any] = {} if guards else {"security": []}

    @app.get("/metrics", summary="Figures for Prometheus", dependencies=guards, openapi_extra=extra)
    def figures(request: Request) -> Response:
        strict = _STRICT in request.headers.get("accept", "")
        data, kind = metrics.render(openmetrics=strict)
        return Response(data, media_type=kind)
