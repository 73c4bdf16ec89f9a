"""How targets, accounts and retries stand, for admins and their programs."""

import time
from collections.abc import Iterator

from fastapi import APIRouter, Depends, FastAPI, Response

from gateway.core import jsonio
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth
from gateway.upstream.provider_quota import Place
from gateway.upstream.status import view


def routes(app: FastAPI, gateway: Gateway) -> None:
    """Add them to an app."""
    router = APIRouter(prefix="/admin", dependencies=[Depends(AdminAuth.of(gateway))])

    @router.get("/health", summary="How targets, accounts and retries stand, in this worker")
    def health() -> Response:
        now, upstream = time.time(), gateway.upstream
        found = view(
            upstream.health,
            upstream.quota.state(now),
            upstream.allowances,
            _places(gateway),
            now,
        )
        return Response(jsonio.dumps(found), media_type="application/json")

    app.include_router(router)


def _places(gateway: Gateway) -> Iterator[Place]:
    """Every target that may be asked, with each of its accounts."""
    for lab in gateway.site.built.catalogue.labs.values():
        for targets in (*lab.tiers.values(), lab.embeddings):
            for target in targets:
                for account in target.provider.accounts if target.provider.on else ():
                    yield target.provider.name, account.name, target.model
