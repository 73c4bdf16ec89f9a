"""The ASGI application: calls go straight to their endpoints, other requests through FastAPI."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Catalogue
from gateway.dialects import DIALECTS, GEMINI, OPENAI_CHAT, OPERATIONS
from gateway.pipeline.response import make_problem_response
from gateway.routing import explain
from gateway.routing.explanation_redaction import redact_explanation
from gateway.runtime.composition import VERSION, Gateway
from gateway.server import (
    cors,
    feedback,
    health,
    metrics,
    models,
    openapi,
    paths,
    realtime_refusals,
    request_headers,
)
from gateway.server.admin import (
    audit,
    call_review,
    config,
    costs,
    dial,
    keys,
    labels,
    recorded_call,
    rules,
    targets,
)
from gateway.server.admission import Admission, RefusalLog
from gateway.server.connections import ConnectionLimit, compute_limit
from gateway.server.dashboard import routes as dashboard_routes
from gateway.server.endpoint import Endpoint
from gateway.server.host_header import Headers
from gateway.server.identity import routes as identity_routes
from gateway.server.identity.client_tokens import ClientTokens
from gateway.server.open_access import OpenAccess
from gateway.server.passthrough import PassThroughServer
from gateway.server.paths import find_dialect
from gateway.server.readiness import Readiness
from gateway.server.request_headers import Message, Receive, Scope, Send
from gateway.server.start_page import routes as start_page_routes
from gateway.server.usage import routes as usage_routes
from gateway.server.websocket import WebSocketEndpoint
from gateway.telemetry import process
from gateway.telemetry.log import locate_error

_NOT_FOUND, _NOT_ALLOWED, _UPGRADE_REQUIRED = 404, 405, 426
_LIST_STREAM_PROBLEM = Problem(
    kind="invalid_request",
    message="The gateway sends streams as server-sent events: add ?alt=sse to the URL.",
)
ALWAYS_SERVED_PATHS = health.PROBES | {"/metrics"}
"""Paths that the gateway answers in every state."""
_CLIENT_PREFIXES = ("/v1/", "/v1beta/", *ALWAYS_SERVED_PATHS)
"""Prefixes of the paths that a hint may name."""
_PRIVATE_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_KEY_PROBLEM_KINDS = ("invalid_api_key", "rate_limited")
"""Kinds of refusals that are counted at every endpoint: somebody may be guessing keys."""
_CLOSING_STATUSES = (408, 413, 431)
"""Statuses after which the connection closes: the gateway does not read the rest of the request."""


class App(FastAPI):
    """FastAPI for the OpenAPI document and slow endpoints; calls never pass through its layers."""

    def __init__(self, gateway: Gateway) -> None:
        refusal_log = RefusalLog(gateway.log, gateway.ledger_runtime.metrics.count_refusal)
        super().__init__(
            title="tiergate",
            version=VERSION,
            description="A model-routing API gateway. Its calls speak the providers' own dialects.",
            docs_url=None,  # its page loads scripts from another host
            redoc_url=None,
            redirect_slashes=False,  # it would redirect to wherever the Host header says
            lifespan=_make_lifespan(gateway, refusal_log),
        )
        self.refusal_log = refusal_log
        self._archive = gateway.ledger_runtime
        self.reload = gateway.reloader.start_read
        """Starts a reload of the configuration, for callers that do not wait for it."""
        server = gateway.built_config.source.config.server
        self._cors = cors.CorsPolicy(server.cors)
        self._open_access = (
            OpenAccess(gateway.host, server.hosts, self._cors) if gateway.keys.is_open else None
        )
        """Checks the origin of requests if the keys are open, since no key says who may call."""
        self.timeouts = server.timeouts
        self.write_batch = gateway.write_batch
        self.connection_limit = ConnectionLimit(
            server.connections or compute_limit(process.raise_file_limit()), time.monotonic
        )
        self.admission = admission = Admission(gateway)
        self.readiness = Readiness(gateway, admission.shutdown)
        self.write_batch.count_calls = admission.count_calls
        self.client_tokens = ClientTokens(gateway)
        endpoints = {
            name: Endpoint(gateway, dialect, refusal_log, admission, self.client_tokens)
            for name, dialect in OPERATIONS.items()
        }
        self.websockets = WebSocketEndpoint(
            gateway, refusal_log, admission, self.client_tokens, self._cors, self._open_access
        )
        """Serves all WebSockets. Requests for one never reach `__call__`."""
        self._endpoints = {
            dialect.path: endpoints[name]
            for name, dialect in OPERATIONS.items()
            if dialect.read_with_path is None
        }
        self._endpoints_by_raw_path = {
            path.encode(): endpoint for path, endpoint in self._endpoints.items()
        }
        self._gemini_endpoints = {
            method: endpoints[GEMINI.name, operation]
            for method, operation in paths.GEMINI_OPERATIONS.items()
        }
        self.passthrough = PassThroughServer(gateway, refusal_log, admission, self.client_tokens)
        metrics_guard = metrics.MetricsGuard(gateway)
        is_open = gateway.built_config.source.config.metrics.open
        self._unchecked_paths = health.PROBES | {"/metrics"} if is_open else health.PROBES
        """Paths that the gateway answers for every origin."""
        start_page_routes.add_routes(self, gateway, self.readiness, metrics_guard)
        _add_model_routes(self, gateway)
        _add_call_routes(self, gateway, admission)
        health.add_routes(self, gateway, self.readiness, metrics_guard)
        feedback.add_routes(self, gateway, admission)
        usage_routes.add_routes(self, gateway)
        costs.add_routes(self, gateway)
        recorded_call.add_routes(self, gateway)
        call_review.add_routes(self, gateway, admission)
        labels.add_routes(self, gateway, admission)
        rules.add_routes(self, gateway, admission)
        config.add_routes(self, gateway)
        dial.add_routes(self, gateway)
        targets.add_routes(self, gateway)
        identity_routes.add_routes(self, gateway)
        keys.add_routes(self, gateway, admission)
        audit.add_routes(self, gateway)
        dashboard_routes.add_routes(self, gateway, admission)
        metrics.add_routes(self, gateway, metrics_guard, admission.count_calls)

    def find_endpoint(self, path: bytes, headers: Headers) -> Endpoint | None:
        """Return the endpoint of a call that has arrived whole and that no web page sends.

        Returns None if the request needs more of `__call__`.
        """
        access = self._open_access
        return (
            self._endpoints_by_raw_path.get(path)
            if access is None or access.knows_host(headers)
            else None
        )

    def has_ended(self) -> bool:
        """True if the rows of all calls are on the disk, and nothing more is written."""
        return self._archive.is_ended

    def list_client_paths(self) -> Iterator[str]:
        """Yield the paths that clients may use."""
        yield from self._endpoints
        for route in self.routes:
            if isinstance(route, Route) and route.path.startswith(_CLIENT_PREFIXES):
                yield route.path

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, built once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete_document(super().openapi())
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with CORS headers if its web page may call."""
        origin = self._cors.find_origin(scope) if scope["type"] == "http" else None
        if origin is None:
            await self._serve(scope, receive, send)
        elif (headers := self._cors.build_preflight_answer(scope, origin)) is not None:
            await cors.answer_preflight(headers, send)
        else:
            # Without the exchange every answer goes through `send`, which adds the headers.
            scope = {name: value for name, value in scope.items() if name != "exchange"}
            await self._serve(scope, receive, self._cors.add_headers(send, origin))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request if its origin may call, or refuse it."""
        if (problem := self._find_access_problem(scope)) is not None:
            self.refusal_log.note(problem.kind)
            await _render_problem(problem, scope["path"])(scope, receive, send)
            return
        endpoint, call_path, model = None, "", ""
        if scope["type"] == "http":
            endpoint, call_path = self._match_endpoint(scope["path"])
            if endpoint is None:
                path, model = paths.resolve(scope["path"])
                endpoint, call_path = self._match_endpoint(path)
                scope = {**scope, "path": path}
        if (
            endpoint is None
            and scope["type"] == "http"
            and request_headers.has_too_many_headers(scope["headers"])
        ):
            self.refusal_log.note(request_headers.TOO_MANY_HEADERS.kind)
            await _render_problem(request_headers.TOO_MANY_HEADERS, scope["path"])(
                scope, receive, send
            )
        elif (
            endpoint is None
            and scope["type"] == "http"
            and (match := self.passthrough.match(scope))
        ):
            await self.passthrough(scope, receive, send, match)
        elif endpoint is None:
            await self._serve_by_fastapi(scope, receive, send)
        elif scope["method"] == "POST" and _asks_for_json_list(call_path, scope["query_string"]):
            await _render_problem(_LIST_STREAM_PROBLEM, scope["path"])(scope, receive, send)
        elif scope["method"] == "POST":
            await endpoint(scope, receive, send, call_path, model)
        elif _is_websocket_upgrade(scope):
            await _render_no_websocket(scope["path"])(scope, receive, send)
        else:
            await _render_not_allowed(scope["method"], scope["path"], "POST")(scope, receive, send)

    async def _serve_by_fastapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that is no call. Health and metrics are answered in every state."""
        if scope["type"] == "http" and scope["path"] not in ALWAYS_SERVED_PATHS:
            try:
                self.admission.check()
                if self.client_tokens.is_on:
                    await self.client_tokens.learn(request_headers.RequestHeaders(scope["headers"]))
            except ProblemError as error:
                self.refusal_log.note(error.problem.kind)
                reply = _render_problem(error.problem, scope["path"])
                reply.headers["connection"] = "close"
                await reply(scope, receive, send)
                return
        if scope["type"] == "http" and scope["path"].startswith("/admin"):
            send = _add_private_headers(send)
        await super().__call__(scope, receive, send)

    def _find_access_problem(self, scope: Scope) -> Problem | None:
        """Return why a request's origin may not call, or None; `/admin` has its own guard."""
        if self._open_access is None or scope["type"] != "http":
            return None
        path: str = scope["path"]
        if path in self._unchecked_paths or path.startswith("/admin/"):
            return None
        return self._open_access.find_problem(scope["headers"])

    def _match_endpoint(self, path: str) -> tuple[Endpoint | None, str]:
        """Return the endpoint at a path, and the part of the path that is part of a Gemini call."""
        if (endpoint := self._endpoints.get(path)) is not None:
            return endpoint, ""
        for prefix in paths.GEMINI_PREFIXES:
            if path.startswith(prefix):
                call_path = path[len(prefix) - len("models/") :]
                return self._gemini_endpoints.get(call_path.rpartition(":")[2]), call_path
        return None, ""


def _add_private_headers(send: Send) -> Send:
    """Forbid caches to keep answers for admins: a browser sends a cookie, and no key."""

    async def send_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_PRIVATE_HEADERS]
        await send(message)

    return send_private


def _asks_for_json_list(call_path: str, query: bytes) -> bool:
    """True if the client wants a stream as one JSON list, Gemini's form without `alt=sse`."""
    return call_path.endswith(":streamGenerateContent") and b"alt=sse" not in query


def _is_websocket_upgrade(scope: Scope) -> bool:
    return any(name == b"sec-websocket-key" for name, _ in scope["headers"])


def _render_no_websocket(path: str) -> Response:
    """Refuse a WebSocket at once, so that clients that prefer one fall back to HTTP."""
    message = f"The gateway does not serve {path} over a WebSocket: send a POST."
    problem = Problem(kind="method_not_allowed", message=message, status=_UPGRADE_REQUIRED)
    return _render_problem(problem, path, allow="POST")


def _make_lifespan(
    gateway: Gateway, refusal_log: RefusalLog
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        try:
            yield
        finally:
            refusal_log.flush()
            await gateway.stop()

    return lifespan


def _add_model_routes(app: App, gateway: Gateway) -> None:
    started_at = int(time.time())

    @app.get("/v1beta/models", include_in_schema=False)
    @app.get("/v1/models", summary="List the models that the caller may ask for")
    def list_models(request: Request) -> Response:
        caller = request_headers.identify_caller(gateway.keys, request)
        if _is_google_client(request):
            return _render_json(models.build_gemini_list(_get_catalogue(gateway), caller))
        return _render_json(models.build_list(_get_catalogue(gateway), caller, started_at))

    @app.get("/v1beta/models/{name:path}", include_in_schema=False)
    @app.get("/v1/models/{name:path}", summary="Describe one model")
    def one_model(request: Request, name: str) -> Response:
        caller = request_headers.identify_caller(gateway.keys, request)
        if _is_google_client(request):
            model = models.build_gemini_model(_get_catalogue(gateway), caller, name)
        else:
            model = models.build_model(_get_catalogue(gateway), caller, started_at, name)
        if model is None:
            message = (
                f"The gateway does not serve the model {name[:200]!r}. GET /v1/models lists "
                "those that it serves."
            )
            raise ProblemError(Problem(kind="model_not_found", message=message, param="model"))
        return _render_json(model)


def _get_catalogue(gateway: Gateway) -> Catalogue:
    return gateway.built_config.built_catalogue.catalogue


def _add_call_routes(app: App, gateway: Gateway, admission: Admission) -> None:
    @app.post(
        "/v1/route", summary="Explain the decision for a request, without a call to a provider"
    )
    async def route(
        request: Request, dialect: str = OPENAI_CHAT.name, path: str = "models/auto:generateContent"
    ) -> Response:
        call_dialect = DIALECTS.get(dialect)
        forwarded = frozenset() if call_dialect is None else call_dialect.forwarded_headers
        headers = request_headers.RequestHeaders(request.headers.raw, forwarded)
        caller = request_headers.identify(gateway.keys, headers)
        if call_dialect is None:
            message = f"There is no dialect {dialect!r}: it is {', '.join(DIALECTS)}."
            raise ProblemError(Problem(kind="invalid_request", message=message, param="dialect"))
        data = await admission.read_body(request.receive, headers.length)
        call_path = path if call_dialect.read_with_path is not None else ""
        call = request_headers.build_call(
            call_dialect, headers, caller, data, request_headers.new_id(), path=call_path
        )
        explanation = explain.describe(*(await gateway.engine.explain(call)), call.received_at)
        return _render_json(
            redact_explanation(explanation, gateway.built_config.built_catalogue.catalogue, caller)
        )

    @app.get("/v1/responses/{name}", summary="Get a stored response")
    async def response(request: Request, name: str) -> Response:
        caller = request_headers.identify_caller(gateway.keys, request)
        body = await gateway.engine.memory.find(caller, name)
        return Response(body, media_type="application/json")

    @app.delete("/v1/responses/{name}", summary="Delete a stored response")
    async def delete(request: Request, name: str) -> Response:
        caller = request_headers.identify_caller(gateway.keys, request)
        body = await gateway.engine.memory.delete(caller, name)
        return Response(body, media_type="application/json")

    @app.exception_handler(ProblemError)
    async def handle_problem(request: Request, error: ProblemError) -> Response:
        if error.problem.kind in _KEY_PROBLEM_KINDS:
            app.refusal_log.note(error.problem.kind)
        return _render_problem(error.problem, request.scope["path"])

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"][:200]
        if (refusal := realtime_refusals.find_problem(path)) is not None:
            return _render_problem(refusal, path)
        is_unknown_method = (
            request.method == "POST" and find_dialect(path) is GEMINI
        )  # no method of Gemini's
        if error.status_code == _NOT_ALLOWED and not is_unknown_method:
            allowed = (error.headers or {}).get("Allow", "").split(", ")
            return _render_not_allowed(
                request.method, path, ", ".join(sorted({*allowed, *_list_methods(app, request)}))
            )
        call_paths = ", ".join(
            dialect.path for dialect in DIALECTS.values() if dialect.read_with_path is None
        )
        gemini_path = "/v1beta/models/{model}:generateContent"
        if methods := app.passthrough.list_methods(request.scope):
            return _render_not_allowed(request.method, path, ", ".join(methods))
        suggestion = paths.suggest_path(path, app.list_client_paths())
        message = (
            f"The gateway has no endpoint {path}. {suggestion}Calls go to POST {call_paths} "
            f"or {gemini_path}."
        )
        return _render_problem(Problem(kind="not_found", message=message), path)

    @app.exception_handler(Exception)
    async def handle_bug(request: Request, error: Exception) -> Response:
        gateway.log("bug", error=locate_error(error))
        message = "The gateway failed on this request; its log has the reason."
        return _render_problem(Problem(kind="internal", message=message), request.scope["path"])


def _is_google_client(request: Request) -> bool:
    """True for a client of Google's; one of its SDKs uses the `/v1` paths of the others."""
    return request.scope["path"].startswith("/v1beta") or "x-goog-api-client" in request.headers


def _list_methods(app: App, request: Request) -> Iterator[str]:
    """Yield the methods of all routes at a path: Starlette names those of the first alone."""
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            yield from route.methods or ()


def _render_not_allowed(method: str, path: str, allowed: str) -> Response:
    message = f"{method} is not allowed on {path}." + (allowed and f" It takes {allowed}.")
    return _render_problem(Problem(kind="method_not_allowed", message=message), path, allow=allowed)


def _render_json(value: object, status: int = 200) -> Response:
    return Response(jsonio.dumps(value), status, media_type="application/json")


def _render_problem(problem: Problem, path: str, allow: str = "") -> Response:
    reply = make_problem_response(problem, find_dialect(path), request_headers.new_id(), [])
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    if allow:
        headers["allow"] = allow
    if reply.status in _CLOSING_STATUSES:
        headers["connection"] = "close"
    return Response(reply.body, reply.status, headers)
