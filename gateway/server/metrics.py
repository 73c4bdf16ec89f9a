"""Metrics for Prometheus at `/metrics`, and who may read them.

No label is a text of a client, unless keys or tenants are labels. But metrics show the spending
and the models. So they need a key if the gateway has keys.
"""

import hmac
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response

from gateway.core.errors import Problem, ProblemError
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth, find_key
from gateway.server.dashboard.session import hash_secret
from gateway.server.host_header import is_loopback
from gateway.server.request_headers import RequestHeaders
from gateway.telemetry.metrics import GaugeMetric

_OPENMETRICS_TYPE = "application/openmetrics-text"
_CLOSED_PROBLEM = Problem(
    kind="invalid_api_key",
    message="Metrics need a key here. Set metrics.key and send it as `Authorization: Bearer <key>`,"
    " or set metrics.open to true.",
)


class MetricsGuard:
    """A FastAPI dependency that lets readers of metrics pass, and says who may read them.

    Everybody may if the gateway has no keys, or if the operator sets `metrics.open`. A gateway
    that listens on this machine alone is no exception: a proxy beside it lets strangers in.
    """

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.built_config.source.config.metrics
        self._admin_auth = AdminAuth.from_gateway(gateway)
        self._keys = gateway.keys
        self._key_digest = hash_secret(settings.key) if settings.key else b""
        has_admin_key = self._admin_auth.sessions.has_admin_key
        is_closed = (has_admin_key or not gateway.keys.is_open) and not settings.open
        self.hides_details = is_closed and not is_loopback(gateway.host)
        """True if strangers get no details of health: other machines can reach the gateway."""
        names_keys = settings.keys or settings.teams or settings.tenants
        self.needs_key = is_closed or names_keys
        """True if metrics need a key: the gateway has keys, or the metrics name keys or tenants."""
        self._names_keys = names_keys

    async def __call__(self, request: Request) -> None:
        """Let readers pass. Raises ProblemError: invalid_api_key, not_allowed, rate_limited."""
        secrets = RequestHeaders(request.headers.raw).secrets
        if self._key_digest and len(secrets) == 1:
            (secret,) = secrets
            if hmac.compare_digest(hash_secret(secret), self._key_digest):
                return
        # Looked up for each request: admin keys come and go.
        if not (self._admin_auth.sessions.has_admin_key or self._names_keys):
            for secret in secrets:
                if find_key(self._keys, secret) is None:
                    self._keys.wrong_key_counter.count(secret)
            raise ProblemError(_CLOSED_PROBLEM)
        await self._admin_auth(request)

    async def may_read_details(self, request: Request) -> bool:
        """True if the client of a request may learn details of the gateway's health."""
        if not self.hides_details:
            return True
        try:
            await self(request)
        except ProblemError:
            return False
        return True


def add_routes(
    app: FastAPI, gateway: Gateway, guard: MetricsGuard, count_in_flight: Callable[[], int]
) -> None:
    """Add the endpoint to an app. `count_in_flight` returns the number of running calls."""
    metrics = gateway.ledger_runtime.metrics
    metrics.watch([GaugeMetric("calls_in_flight", "Calls that are being served.", count_in_flight)])
    guards = [Depends(guard)] if guard.needs_key else []
    extra: dict[str, Any] = {} if guards else {"security": []}

    @app.get(
        "/metrics", summary="Get metrics for Prometheus", dependencies=guards, openapi_extra=extra
    )
    def figures(request: Request) -> Response:
        is_openmetrics = _OPENMETRICS_TYPE in request.headers.get("accept", "")
        data, content_type = metrics.render(openmetrics=is_openmetrics)
        return Response(data, media_type=content_type)
