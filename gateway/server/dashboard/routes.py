"""The endpoints of the dashboard: its page, its files, and its sessions."""

import functools
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.runtime.composition import VERSION, Gateway
from gateway.server.admin.audit import record_act
from gateway.server.admin.auth import AdminAuth, AdminIdentity, check_local
from gateway.server.admission import Admission
from gateway.server.dashboard.assets import AssetFile, Assets
from gateway.server.dashboard.session import (
    COOKIE_NAME,
    DashboardSessions,
    check_origin,
    set_session_cookie,
)
from gateway.server.request_headers import RequestHeaders

_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE_HEADERS: Mapping[str, str] = {
    "content-security-policy": _CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
"""Headers of everything below /dashboard: a page loads nothing from other sites, and no site may
embed it."""
_CACHE_FOR_YEAR = "private, max-age=31536000, immutable"
_MAX_KEY_BYTES = 1_024
"""The maximum number of bytes of a key."""
_JSON = "application/json"


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the routes to an app."""
    router = APIRouter(prefix="/dashboard", include_in_schema=False)
    load_assets = functools.cache(Assets)  # read when somebody first opens the dashboard
    guard = AdminAuth.from_gateway(gateway)
    sessions = guard.sessions

    @router.get("")
    @router.get("/")
    def page(request: Request) -> Response:
        return _render_file(request, load_assets().index, load_assets().version, "no-cache")

    @router.get("/files/{version}/{name:path}")
    def file(request: Request, version: str, name: str) -> Response:
        asset = load_assets().files.get(name)
        if asset is None or version != load_assets().version:
            message = "There is no such file of this version: load the dashboard again."
            raise ProblemError(Problem(kind="not_found", message=message))
        return _render_file(request, asset, load_assets().version, _CACHE_FOR_YEAR)

    @router.get("/session")
    async def session(request: Request) -> Response:
        return _render_json(await _describe_session(gateway, sessions, request))

    @router.post("/session")
    async def sign_in(request: Request) -> Response:
        """Sign in. The key is in the body, never in a URL."""
        check_origin(request)
        key = _parse_key(await _read_body(request, admission))
        cookie = sessions.begin(key)
        if cookie is None:
            gateway.keys.wrong_key_counter.count(key)
            message = "This is not an admin key (TIERGATE_ADMIN_KEY, or a key with `admin: true`)."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        request.state.admin = AdminIdentity(sessions.find_admin(cookie), "dashboard")
        await record_act(gateway, request, "session.begin")
        response = _render_json({"signed_in": True, "token": sessions.make_token(cookie)})
        set_session_cookie(response, cookie, secure=is_tls(request))
        return response

    @router.delete("/session")
    async def sign_out(request: Request) -> Response:
        """Sign out."""
        check_origin(request)
        cookie = request.cookies.get(COOKIE_NAME, "")
        if cookie and await sessions.is_signed_in(request):
            await sessions.end(cookie)
        response = _render_json({"signed_in": False, "token": None})
        set_session_cookie(response, "", secure=is_tls(request))
        return response

    app.include_router(router)
    _add_end_all_route(app, gateway, guard)


async def _describe_session(
    gateway: Gateway, sessions: DashboardSessions, request: Request
) -> dict[str, Any]:
    """Return who is signed in, and what the page needs to know of the gateway."""
    config = gateway.built_config.source.config
    state: dict[str, Any] = {
        "version": VERSION,
        "zone": config.ledger.time_zone,
        "needed": sessions.has_admin_key,
        "open": gateway.keys.is_open,
        "signed_in": False,
        "token": None,
        "refused": None,
        "provider": config.sign_in is not None,
        "person": None,
        "role": "admin",
        "team": "",
    }
    if not sessions.has_admin_key:
        try:
            check_local(request)
        except ProblemError as error:
            state["refused"] = error.problem.message
        state["signed_in"] = state["refused"] is None
        return state
    check_origin(request)
    cookie = request.cookies.get(COOKIE_NAME, "")
    if cookie and await sessions.is_valid(cookie):
        state |= {"signed_in": True, "token": sessions.make_token(cookie)}
        if (person := sessions.find_person(cookie)) is not None:
            state |= {"person": person.name, "role": person.role, "team": person.team}
    return state


def _add_end_all_route(app: FastAPI, gateway: Gateway, guard: AdminAuth) -> None:
    """Add the route that ends all sessions."""

    @app.delete(
        "/admin/sessions",
        summary="End all sessions of the dashboard",
        dependencies=[Depends(guard)],
    )
    async def end_all(request: Request) -> Response:
        await record_act(gateway, request, "session.end_all")
        await guard.sessions.end_all()
        return Response(jsonio.dumps({"ended": "all"}), media_type=_JSON)


def _render_file(request: Request, file: AssetFile, version: str, cache_control: str) -> Response:
    etag = f'"{version}"'
    headers = {**SAFE_HEADERS, "etag": etag, "cache-control": cache_control}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.content_type, headers=headers)


def _render_json(value: dict[str, Any]) -> Response:
    headers = {**SAFE_HEADERS, "cache-control": "no-store"}
    return Response(jsonio.dumps(value), media_type=_JSON, headers=headers)


def is_tls(request: Request) -> bool:
    """True if the browser used TLS, to this process or to a proxy before it."""
    forwarded_proto = request.headers.get("x-forwarded-proto", "")
    return (
        request.url.scheme == "https"
        or forwarded_proto.partition(",")[0].strip().lower() == "https"
    )


async def _read_body(request: Request, admission: Admission) -> bytes:
    headers = RequestHeaders(request.headers.raw)
    if headers.length is None or headers.length > _MAX_KEY_BYTES:
        raise ProblemError(Problem(kind="request_too_large", message="This is longer than a key."))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise invalid_request('Send the key as JSON: {"key": "..."}.')
    return await admission.read_body(request.receive, headers.length)


def _parse_key(data: bytes) -> str:
    try:
        value = jsonio.loads(data)
    except ValueError:
        value = None
    key = value.get("key") if isinstance(value, dict) else None
    if not isinstance(key, str) or not key:
        raise invalid_request('Send the key as JSON: {"key": "..."}.', "key")
    return key.strip()
