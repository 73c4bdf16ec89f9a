"""One recorded call, for admins: why it was decided so, and its text if the gateway keeps texts."""

from functools import partial

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.ledger.query_params import is_storable
from gateway.ledger.store import StoredRow
from gateway.routing import replay_decision
from gateway.routing.router import Router
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import AdminAuth, may_see_team
from gateway.server.admin.worker_thread import WorkerThread
from gateway.server.queries.golden import KeptTexts, find_transcript

_JSON = "application/json"


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin/entries", dependencies=[Depends(guard)])
    worker_thread = WorkerThread(gateway)

    def read_row(name: str) -> StoredRow | None:
        return gateway.store.find_call(gateway.journal_folder, name) if is_storable(name) else None

    def find_router(stored_row: StoredRow) -> Router:
        """Return the router that decided the call, or the current one if that is gone."""
        previous = gateway.reloader.watcher.previous
        if previous is not None and stored_row.config == previous.version:
            return previous.built_config.router
        return gateway.built_config.router

    async def get_row(request: Request, name: str) -> StoredRow:
        stored_row = await worker_thread(partial(read_row, name))
        if stored_row is None or not may_see_team(request, stored_row.team):
            message = "The ledger has no row of this call. A call gets its row when it ends."
            raise ProblemError(Problem(kind="not_found", message=message))
        return stored_row

    @router.get("/{name}/decision", summary="Explain the decision of a call")
    async def decision(request: Request, name: str) -> Response:
        stored_row = await get_row(request, name)
        explanation = await worker_thread(
            partial(replay_decision.describe, find_router(stored_row), stored_row)
        )
        return Response(jsonio.dumps(explanation), media_type=_JSON)

    @router.get("/{name}/text", summary="Get the text of a call, if the gateway keeps texts")
    async def text(request: Request, name: str) -> Response:
        stored_row = await get_row(request, name)
        transcript = await worker_thread(
            partial(find_transcript, describe_texts(gateway), stored_row.id)
        )
        return Response(jsonio.dumps(transcript), media_type=_JSON)

    app.include_router(router)


def describe_texts(gateway: Gateway) -> KeptTexts:
    """Return where a gateway keeps texts."""
    ledger_runtime = gateway.ledger_runtime
    return KeptTexts(ledger_runtime.content_folder, ledger_runtime.keeps_content)
