"""One call of the ledger for admins: why it was decided so, and its text where that is kept."""

from functools import partial

from fastapi import APIRouter, Depends, FastAPI, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.ledger import transcripts
from gateway.ledger.query_params import storable
from gateway.ledger.store import StoredRow
from gateway.routing import replay_decision
from gateway.routing.router import Router
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth
from gateway.server.admin.worker_thread import WorkerThread

_JSON = "application/json"


def routes(app: FastAPI, gateway: Gateway) -> None:
    """Add them to an app."""
    guard = AdminAuth.of(gateway)
    router = APIRouter(prefix="/admin/entries", dependencies=[Depends(guard)])
    apart = WorkerThread(gateway)

    def find(name: str) -> StoredRow | None:
        return gateway.store.call(gateway.journal_folder, name) if storable(name) else None

    def decided(one: StoredRow) -> Router:
        """What decided it: also the configuration before this one is known yet."""
        before = gateway.reload.renewal.before
        if before is not None and one.config == before.version:
            return before.site.router
        return gateway.site.router

    async def row(name: str) -> StoredRow:
        found = await apart(partial(find, name))
        if found is None:
            message = "The ledger has no row of this call: it may still be running."
            raise ProblemError(Problem(kind="not_found", message=message))
        return found

    @router.get("/{name}/decision", summary="What was decided for a call, and why")
    async def decision(name: str) -> Response:
        one = await row(name)
        told = await apart(partial(replay_decision.view, decided(one), one))
        return Response(jsonio.dumps(told), media_type=_JSON)

    @router.get("/{name}/text", summary="What was said in a call, where texts are kept")
    async def text(name: str) -> Response:
        one = await row(name)
        found = await apart(partial(transcripts.find, gateway.archive.content_folder, one.id))
        if found is None:
            keeps = gateway.archive.keeps
            why = "it is kept no more, or not on this machine" if keeps else "ledger.content is off"
            message = f"The text of this call is not kept: {why}."
            raise ProblemError(Problem(kind="not_found", message=message))
        return Response(jsonio.dumps(found), media_type=_JSON)

    app.include_router(router)
