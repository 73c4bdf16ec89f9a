"""The ASGI application: hot endpoints straight to their code, everything else through FastAPI."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue
from gateway.dialects import DIALECTS, GEMINI, OPENAI_CHAT, OPERATIONS
from gateway.pipeline.response import refusal
from gateway.routing import explain
from gateway.routing.explanation_redaction import veil
from gateway.runtime.composition import VERSION, Gateway
from gateway.server import cors, feedback, health, metrics, models, openapi, paths, request_headers
from gateway.server.admin import config, costs, recorded_call, rules, targets
from gateway.server.admission import Admission, RefusalLog
from gateway.server.connections import ConnectionLimit, most
from gateway.server.dashboard import routes as dashboard
from gateway.server.endpoint import Endpoint
from gateway.server.host_header import Headers
from gateway.server.open_access import OpenAccess
from gateway.server.paths import dialect_at
from gateway.server.readiness import Readiness
from gateway.server.request_headers import Message, Receive, Scope, Send
from gateway.server.start_page import routes as start
from gateway.telemetry import process
from gateway.telemetry.log import where

_NOT_FOUND, _NOT_ALLOWED, _UPGRADE_REQUIRED = 404, 405, 426
_LIST = Problem(
    kind="invalid_request", message="A stream is sent as events: add ?alt=sse to the URL."
)
ALWAYS = health.PROBES | {"/metrics"}
"""Paths that are answered whatever happens."""
_OF_CLIENTS = ("/v1/", "/v1beta/", *ALWAYS)
"""Beginnings of the paths that a hint may name."""
_PRIVATE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_OF_KEYS = ("invalid_api_key", "rate_limited")
"""Refusals that are counted wherever they come from: somebody may be guessing keys."""
_CLOSING = (408, 413, 431)
"""What is left of such a request is not read."""


class App(FastAPI):
    """FastAPI for documents and slow endpoints; calls never pass through its layers."""

    def __init__(self, gateway: Gateway) -> None:
        refused = RefusalLog(gateway.log, gateway.archive.metrics.refused)
        super().__init__(
            title="tiergate",
            version=VERSION,
            description="A model-routing API gateway. Its calls speak the providers' own dialects.",
            docs_url=None,  # its page loads scripts from another host
            redoc_url=None,
            redirect_slashes=False,  # it would redirect to wherever the Host header says
            lifespan=_lifespan(gateway, refused),
        )
        self.refused = refused
        self._archive = gateway.archive
        self.reload = gateway.reload.soon
        """Reads the configuration again, where nobody waits for it."""
        server = gateway.site.source.config.server
        self._cors = cors.CorsPolicy(server.cors)
        self._open_access = (
            OpenAccess(gateway.host, server.hosts, self._cors) if gateway.keys.is_open else None
        )
        """Checks where requests come from, where no key says who may call."""
        self.waits = server.timeouts
        self.outbox = gateway.outbox
        self.lines = ConnectionLimit(
            server.connections or most(process.most_files()), time.monotonic
        )
        self.entrance = entrance = Admission(gateway)
        self.readiness = Readiness(gateway, entrance.drain)
        self.outbox.calls = lambda: entrance.calls
        doors = {
            name: Endpoint(gateway, one, refused, entrance) for name, one in OPERATIONS.items()
        }
        self._hot = {
            one.path: doors[name] for name, one in OPERATIONS.items() if one.read_at is None
        }
        self._doors = {path.encode(): door for path, door in self._hot.items()}
        self._gemini = {
            "generateContent": doors[GEMINI.name, "generate"],
            "streamGenerateContent": doors[GEMINI.name, "generate"],
            "countTokens": doors[GEMINI.name, "count_tokens"],
            "embedContent": doors[GEMINI.name, "embeddings"],
            "batchEmbedContents": doors[GEMINI.name, "embeddings"],
        }
        readers = metrics.MetricsGuard(gateway)
        is_open = gateway.site.source.config.metrics.open
        self._unchecked = health.PROBES | {"/metrics"} if is_open else health.PROBES
        """Paths that are answered wherever a request comes from."""
        start.routes(self, gateway, self.readiness, readers)
        _names(self, gateway)
        _routes(self, gateway, entrance)
        health.routes(self, gateway, self.readiness, readers)
        feedback.routes(self, gateway, entrance)
        costs.routes(self, gateway)
        recorded_call.routes(self, gateway)
        rules.routes(self, gateway, entrance)
        config.routes(self, gateway)
        targets.routes(self, gateway)
        dashboard.routes(self, gateway, entrance)
        metrics.routes(self, gateway, readers, lambda: entrance.calls)

    def door(self, path: bytes, headers: Headers) -> Endpoint | None:
        """Return where a call goes that has come whole and that no web page sends.

        None where `__call__` has more to do for it.
        """
        access = self._open_access
        return self._doors.get(path) if access is None or access.knows_host(headers) else None

    def ended(self) -> bool:
        """Whether the rows of all calls are on the disk, and nothing more is written."""
        return self._archive.ended

    def endpoints(self) -> Iterator[str]:
        """The paths that clients may ask for."""
        yield from self._hot
        for route in self.routes:
            if isinstance(route, Route) and route.path.startswith(_OF_CLIENTS):
                yield route.path

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.whole(super().openapi())
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with the headers of CORS where its web page may call."""
        origin = self._cors.origin(scope) if scope["type"] == "http" else None
        if origin is None:
            await self._serve(scope, receive, send)
        elif (headers := self._cors.preflight(scope, origin)) is not None:
            await cors.answer(headers, send)
        else:
            # The connection writes no answer past `send`, which adds to each.
            scope = {name: value for name, value in scope.items() if name != "wire"}
            await self._serve(scope, receive, self._cors.telling(send, origin))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that comes from where it may, and refuse all others."""
        if (problem := self._strange(scope)) is not None:
            self.refused.note(problem.kind)
            await _problem(problem, scope["path"])(scope, receive, send)
            return
        hot, asked, model = None, "", ""
        if scope["type"] == "http":
            hot, asked = self._at(scope["path"])
            if hot is None:
                path, model = paths.resolve(scope["path"])
                hot, asked = self._at(path)
                scope = {**scope, "path": path}
        if hot is None and scope["type"] == "http" and request_headers.crowded(scope["headers"]):
            self.refused.note(request_headers.CROWDED.kind)
            await _problem(request_headers.CROWDED, scope["path"])(scope, receive, send)
        elif hot is None:
            await self._seldom(scope, receive, send)
        elif scope["method"] == "POST" and _is_list(asked, scope["query_string"]):
            await _problem(_LIST, scope["path"])(scope, receive, send)
        elif scope["method"] == "POST":
            await hot(scope, receive, send, asked, model)
        elif _upgrades(scope):
            await _unspoken(scope["path"])(scope, receive, send)
        else:
            await _not_allowed(scope["method"], scope["path"], "POST")(scope, receive, send)

    async def _seldom(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no call; signs of life and figures are told whatever happens."""
        if scope["type"] == "http" and scope["path"] not in ALWAYS:
            try:
                self.entrance.check()
            except ProblemError as error:
                self.refused.note(error.problem.kind)
                reply = _problem(error.problem, scope["path"])
                reply.headers["connection"] = "close"
                await reply(scope, receive, send)
                return
        if scope["type"] == "http" and scope["path"].startswith("/admin"):
            send = _private(send)
        await super().__call__(scope, receive, send)

    def _strange(self, scope: Scope) -> Problem | None:
        """Return why a request is refused for where it comes from; `/admin` has its own guard."""
        if self._open_access is None or scope["type"] != "http":
            return None
        path: str = scope["path"]
        if path in self._unchecked or path.startswith("/admin/"):
            return None
        return self._open_access.refusal(scope["headers"])

    def _at(self, path: str) -> tuple[Endpoint | None, str]:
        """Find the endpoint at a path, and what of the path belongs to the request (Gemini)."""
        if (hot := self._hot.get(path)) is not None:
            return hot, ""
        for prefix in paths.GEMINI_PREFIXES:
            if path.startswith(prefix):
                asked = path[len(prefix) - len("models/") :]
                return self._gemini.get(asked.rpartition(":")[2]), asked
        return None, ""


def _private(send: Send) -> Send:
    """Nobody on the way keeps what admins are told: a browser has a cookie, and sends no key."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_PRIVATE]
        await send(message)

    return told


def _is_list(asked: str, query: bytes) -> bool:
    """Whether a stream is asked for as one JSON list, which is Gemini's form without `alt=sse`."""
    return asked.endswith(":streamGenerateContent") and b"alt=sse" not in query


def _upgrades(scope: Scope) -> bool:
    return any(name == b"sec-websocket-key" for name, _ in scope["headers"])


def _unspoken(path: str) -> Response:
    """For clients that would rather speak over a WebSocket: told at once, they use HTTP."""
    message = f"{path} is not served over a WebSocket: send a POST."
    problem = Problem(kind="method_not_allowed", message=message, status=_UPGRADE_REQUIRED)
    return _problem(problem, path, allow="POST")


def _lifespan(
    gateway: Gateway, refused: RefusalLog
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


def _names(app: App, gateway: Gateway) -> None:
    started = int(time.time())

    def key(request: Request) -> Key:
        return request_headers.identify(
            gateway.keys, request_headers.RequestHeaders(request.headers.raw)
        )

    @app.get("/v1beta/models", include_in_schema=False)
    @app.get("/v1/models", summary="Names a request may ask for, virtual ones first")
    def list_models(request: Request) -> Response:
        if _from_google(request):
            return _json(models.gemini(_catalogue(gateway), key(request)))
        return _json(models.listing(_catalogue(gateway), key(request), started))

    @app.get("/v1beta/models/{name:path}", include_in_schema=False)
    @app.get("/v1/models/{name:path}", summary="One name")
    def one_model(request: Request, name: str) -> Response:
        if _from_google(request):
            found = models.gemini_one(_catalogue(gateway), key(request), name)
        else:
            found = models.one(_catalogue(gateway), key(request), started, name)
        if found is None:
            message = (
                f"The model {name[:200]!r} is not served here. GET /v1/models lists those that are."
            )
            raise ProblemError(Problem(kind="model_not_found", message=message, param="model"))
        return _json(found)


def _catalogue(gateway: Gateway) -> Catalogue:
    return gateway.site.built.catalogue


def _routes(app: App, gateway: Gateway, entrance: Admission) -> None:
    @app.post(
        "/v1/route", summary="The decision and plan for a request, without calling a provider"
    )
    async def route(
        request: Request, dialect: str = OPENAI_CHAT.name, path: str = "models/auto:generateContent"
    ) -> Response:
        head = request_headers.RequestHeaders(request.headers.raw)
        caller = request_headers.identify(gateway.keys, head)
        if dialect not in DIALECTS:
            message = f"There is no dialect {dialect!r}: it is {', '.join(DIALECTS)}."
            raise ProblemError(Problem(kind="invalid_request", message=message, param="dialect"))
        data = await entrance.body(request.receive, head.length)
        spoken = DIALECTS[dialect]
        asked = path if spoken.read_at is not None else ""
        call = request_headers.call(
            spoken, head, caller, data, request_headers.new_id(), path=asked
        )
        engine = gateway.engine
        chain = await engine.past.read(call, spoken, spoken.asked(call))
        told = explain.view(*(await engine.explain(call, chain)), call.received_at)
        return _json(veil(told, gateway.site.built.catalogue, caller))

    @app.get("/v1/responses/{name}", summary="An answer that the gateway has kept")
    async def response(request: Request, name: str) -> Response:
        caller = request_headers.identify(
            gateway.keys, request_headers.RequestHeaders(request.headers.raw)
        )
        found = await gateway.engine.past.find(caller, name)
        return Response(found, media_type="application/json")

    @app.delete("/v1/responses/{name}", summary="Keep an answer no longer")
    async def delete(request: Request, name: str) -> Response:
        caller = request_headers.identify(
            gateway.keys, request_headers.RequestHeaders(request.headers.raw)
        )
        found = await gateway.engine.past.delete(caller, name)
        return Response(found, media_type="application/json")

    @app.exception_handler(ProblemError)
    async def refused(request: Request, error: ProblemError) -> Response:
        if error.problem.kind in _OF_KEYS:
            app.refused.note(error.problem.kind)
        return _problem(error.problem, request.scope["path"])

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"][:200]
        lost = request.method == "POST" and dialect_at(path) is GEMINI  # a method that is none
        if error.status_code == _NOT_ALLOWED and not lost:
            told = (error.headers or {}).get("Allow", "").split(", ")
            return _not_allowed(
                request.method, path, ", ".join(sorted({*told, *_at(app, request)}))
            )
        doors = ", ".join(one.path for one in DIALECTS.values() if one.read_at is None)
        gemini = "/v1beta/models/{model}:generateContent"
        near = paths.hint(path, app.endpoints())
        message = f"There is nothing at {path}. {near}Calls go to POST {doors} or {gemini}."
        return _problem(Problem(kind="not_found", message=message), path)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        gateway.log("bug", error=where(error))
        message = "The gateway failed on this request; its log has the reason."
        return _problem(Problem(kind="internal", message=message), request.scope["path"])


def _from_google(request: Request) -> bool:
    """Whether a client of Google's asks; one of its SDKs has the version of the others' paths."""
    return request.scope["path"].startswith("/v1beta") or "x-goog-api-client" in request.headers


def _at(app: App, request: Request) -> Iterator[str]:
    """The methods of all routes at a path: Starlette tells those of the first alone."""
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            yield from route.methods or ()


def _not_allowed(method: str, path: str, allowed: str) -> Response:
    message = f"{method} is not allowed on {path}." + (allowed and f" It takes {allowed}.")
    return _problem(Problem(kind="method_not_allowed", message=message), path, allow=allowed)


def _json(value: object, status: int = 200) -> Response:
    return Response(jsonio.dumps(value), status, media_type="application/json")


def _problem(problem: Problem, path: str, allow: str = "") -> Response:
    reply = refusal(problem, dialect_at(path), request_headers.new_id(), [])
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    if allow:
        headers["allow"] = allow
    if reply.status in _CLOSING:
        headers["connection"] = "close"
    return Response(reply.body, reply.status, headers)
