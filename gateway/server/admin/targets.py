"""The state of targets, accounts and retries, for admins and their programs."""

import time
from collections.abc import Iterator

from fastapi import APIRouter, Depends, FastAPI, Response

from gateway.core import jsonio
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth
from gateway.upstream.provider_quota import AccountModelKey
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
            _list_account_model_keys(gateway),
            now,
        )
        return Response(jsonio.dumps(status), media_type="application/json")

    app.include_router(router)


def _list_account_model_keys(gateway: Gateway) -> Iterator[AccountModelKey]:
    """Yield every account of each target whose provider is enabled."""
    for lab in gateway.built_config.built_catalogue.catalogue.labs.values():
        for targets in (*lab.tiers.values(), lab.embeddings):
            for target in targets:
                for account in target.provider.accounts if target.provider.enabled else ():
                    yield target.provider.name, account.name, target.model
