"""The state of targets, accounts and retries, for admins and their programs."""

import time
from collections.abc import Iterator

from fastapi import APIRouter, Depends, FastAPI, Response

from gateway.core import jsonio
from gateway.core.target import Target
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth
from gateway.upstream.status import build_view


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the route to an app."""
    router = APIRouter(prefix="/admin", dependencies=[Depends(AdminAuth.from_gateway(gateway))])

    @router.get(
        "/health", summary="Get the health of targets, accounts and retries, in this worker"
    )
    def health() -> Response:
        now, upstream = time.time(), gateway.upstream
        status = build_view(
            upstream.health,
            upstream.quota.list_states(now),
            upstream.retry_budgets,
            upstream.provider_state.balancer,
            _list_targets(gateway),
            now,
        )
        return Response(jsonio.dumps(status), media_type="application/json")

    app.include_router(router)


def _list_targets(gateway: Gateway) -> Iterator[Target]:
    """Yield each target whose provider is enabled."""
    for lab in gateway.built_config.built_catalogue.catalogue.labs.values():
        for targets in (*lab.tiers.values(), lab.embeddings):
            for target in targets:
                if target.provider.enabled:
                    yield target
