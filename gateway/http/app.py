"""The ASGI application: hot endpoints straight to their code, everything else through FastAPI."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from gateway.compose import Gateway
from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.problem import Problem, ProblemError
from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, OPENAI_CHAT, OPERATIONS, Dialect
from gateway.http import edge, models
from gateway.http.edge import Receive, Scope, Send
from gateway.http.generate import Generate
from gateway.http.refused import Refused
from gateway.reply import refusal
from gateway.routing import explain
from gateway.telemetry.log import where

VERSION = metadata.version("tiergate")
_NOT_FOUND, _NOT_ALLOWED = 404, 405
_CLOSING = (408, 413, 431)
"""What is left of such a request is not read."""


class App(FastAPI):
    """FastAPI for documents and slow endpoints; calls never pass through its layers."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(
            title="tiergate",
            version=VERSION,
            description="A model-routing API gateway. Its calls speak the providers' own dialects.",
            docs_url=None,  # its page loads scripts from another host
            redoc_url=None,
            redirect_slashes=False,  # it would redirect to wherever the Host header says
            lifespan=_lifespan(gateway, refused := Refused(gateway.log)),
        )
        self.refused = refused
        self._hot = {one.path: Generate(gateway, one, refused) for one in OPERATIONS.values()}
        _routes(self, gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        hot = self._hot.get(scope["path"]) if scope["type"] == "http" else None
        if hot is None and scope["type"] == "http" and edge.crowded(scope["headers"]):
            self.refused.note(edge.CROWDED.kind)
            await _problem(edge.CROWDED, scope["path"])(scope, receive, send)
        elif hot is None:
            await super().__call__(scope, receive, send)
        elif scope["method"] == "POST":
            await hot(scope, receive, send)
        else:
            await _not_allowed(scope["method"], scope["path"], "POST")(scope, receive, send)


def _lifespan(
    gateway: Gateway, refused: Refused
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        try:
            yield
        finally:
            refused.tell()
            await gateway.stop()

    return lifespan


def _routes(app: App, gateway: Gateway) -> None:
    started = int(time.time())
    catalogue = gateway.engine.router.catalogue

    def key(request: Request) -> Key:
        return edge.identify(gateway.keys, edge.Head(request.headers.raw))

    @app.get("/v1/models", summary="Names a request may ask for, virtual ones first")
    def list_models(request: Request) -> Response:
        return _json(models.listing(catalogue, key(request), started))

    @app.get("/v1/models/{name:path}", summary="One name")
    def one_model(request: Request, name: str) -> Response:
        found = models.one(catalogue, key(request), started, name)
        if found is None:
            message = (
                f"The model {name[:200]!r} is not served here. GET /v1/models lists those that are."
            )
            raise ProblemError(Problem(kind="model_not_found", message=message, param="model"))
        return _json(found)

    @app.post(
        "/v1/route", summary="The decision and plan for a request, without calling a provider"
    )
    async def route(request: Request, dialect: str = OPENAI_CHAT.name) -> Response:
        head = edge.Head(request.headers.raw)
        caller = edge.identify(gateway.keys, head)
        if dialect not in DIALECTS:
            message = f"There is no dialect {dialect!r}: it is {', '.join(DIALECTS)}."
            raise ProblemError(Problem(kind="invalid_request", message=message, param="dialect"))
        most = gateway.site.source.config.server.max_body
        data = await edge.body(request.receive, head.length, most)
        call = edge.call(DIALECTS[dialect], head, caller, data, edge.new_id())
        return _json(explain.view(*gateway.engine.explain(call), call.received_at))

    @app.head("/", include_in_schema=False)
    @app.head("/api/hello", include_in_schema=False)
    @app.head("/ready", include_in_schema=False)
    @app.head("/health", include_in_schema=False)
    @app.get("/ready", summary="Whether calls can be served")
    @app.get("/health", summary="Whether the process answers")
    async def health() -> Response:
        return _json({"status": "ok", "version": VERSION, "config": catalogue.version})

    @app.exception_handler(ProblemError)
    async def refused(request: Request, error: ProblemError) -> Response:
        return _problem(error.problem, request.scope["path"])

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"][:200]
        if error.status_code == _NOT_ALLOWED:
            return _not_allowed(request.method, path, (error.headers or {}).get("Allow", ""))
        doors = " or ".join(one.path for one in DIALECTS.values())
        message = f"There is nothing at {path}. Calls go to POST {doors}."
        return _problem(Problem(kind="not_found", message=message), path)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        gateway.log("bug", error=where(error))
        message = "The gateway failed on this request; its log has the reason."
        return _problem(Problem(kind="internal", message=message), request.scope["path"])


def _not_allowed(method: str, path: str, allowed: str) -> Response:
    message = f"{method} is not allowed on {path}." + (allowed and f" It takes {allowed}.")
    return _problem(Problem(kind="method_not_allowed", message=message), path, allow=allowed)


def _json(value: object) -> Response:
    return Response(jsonio.dumps(value), media_type="application/json")


def dialect_at(path: str) -> Dialect:
    """The dialect that whoever asks for a path speaks, also where the path is not quite right."""
    return ANTHROPIC_MESSAGES if "/messages" in path else OPENAI_CHAT


def _problem(problem: Problem, path: str, allow: str = "") -> Response:
    reply = refusal(problem, dialect_at(path), edge.new_id(), [])
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    if allow:
        headers["allow"] = allow
    if reply.status in _CLOSING:
        headers["connection"] = "close"
    return Response(reply.body, reply.status, headers)
