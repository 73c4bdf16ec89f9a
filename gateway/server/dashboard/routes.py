"""The doors of the dashboard: its page, its files, and who is signed in."""

import functools
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.runtime.composition import VERSION, Gateway
from gateway.server.admin.auth import AdminAuth, check_place
from gateway.server.admission import Admission
from gateway.server.dashboard.assets import AssetFile, Assets
from gateway.server.dashboard.session import COOKIE, check_origin, keep
from gateway.server.request_headers import RequestHeaders

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
"""Headers of everything below /dashboard: nothing is loaded from elsewhere, or shown elsewhere."""
_YEAR = "private, max-age=31536000, immutable"
_LONGEST = 1_024
"""Bytes of a key."""
_JSON = "application/json"


def routes(app: FastAPI, gateway: Gateway, entrance: Admission) -> None:
    """Add them to an app."""
    router = APIRouter(prefix="/dashboard", include_in_schema=False)
    shelf = functools.cache(Assets)  # read when somebody first looks at a page
    guard = AdminAuth.of(gateway)
    sessions = guard.sessions

    @router.get("")
    @router.get("/")
    def page(request: Request) -> Response:
        return _file(request, shelf().index, shelf().version, "no-cache")

    @router.get("/files/{version}/{name:path}")
    def file(request: Request, version: str, name: str) -> Response:
        found = shelf().files.get(name)
        if found is None or version != shelf().version:
            message = "There is no such file of this version: load the dashboard again."
            raise ProblemError(Problem(kind="not_found", message=message))
        return _file(request, found, shelf().version, _YEAR)

    @router.get("/session")
    async def session(request: Request) -> Response:
        about: dict[str, Any] = {
            "version": VERSION,
            "zone": gateway.site.source.config.ledger.time_zone,
            "needed": sessions.needed,
            "open": gateway.keys.is_open,
            "signed_in": False,
            "token": None,
            "refused": None,
        }
        if sessions.needed:
            check_origin(request)
            cookie = request.cookies.get(COOKIE, "")
            if cookie and await sessions.holds(cookie):
                about |= {"signed_in": True, "token": sessions.token(cookie)}
        else:
            try:
                check_place(request)
            except ProblemError as error:
                about["refused"] = error.problem.message
            about["signed_in"] = about["refused"] is None
        return _said(about)

    @router.post("/session")
    async def begin(request: Request) -> Response:
        """Sign in: the key is in the body, never in a URL."""
        check_origin(request)
        key = _key(await _body(request, entrance))
        cookie = sessions.begin(key)
        if cookie is None:
            gateway.keys.guesses.count(key)
            message = "This is no admin's key (TIERGATE_ADMIN_KEY, or a key with `admin: true`)."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        response = _said({"signed_in": True, "token": sessions.token(cookie)})
        keep(response, cookie, secure=by_tls(request))
        return response

    @router.delete("/session")
    async def end(request: Request) -> Response:
        """Sign out."""
        check_origin(request)
        cookie = request.cookies.get(COOKIE, "")
        if cookie and await sessions.passes(request):
            await sessions.end(cookie)
        response = _said({"signed_in": False, "token": None})
        keep(response, "", secure=by_tls(request))
        return response

    app.include_router(router)
    _ending(app, guard)


def _ending(app: FastAPI, guard: AdminAuth) -> None:
    """Add the route that ends all sessions."""

    @app.delete(
        "/admin/sessions",
        summary="Sign everybody out of the dashboard",
        dependencies=[Depends(guard)],
    )
    async def end_all() -> Response:
        await guard.sessions.end_all()
        return Response(jsonio.dumps({"ended": "all"}), media_type=_JSON)


def _file(request: Request, file: AssetFile, version: str, kept: str) -> Response:
    mark = f'"{version}"'
    headers = {**SAFE, "etag": mark, "cache-control": kept}
    if mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.kind, headers=headers)


def _said(value: dict[str, Any]) -> Response:
    headers = {**SAFE, "cache-control": "no-store"}
    return Response(jsonio.dumps(value), media_type=_JSON, headers=headers)


def by_tls(request: Request) -> bool:
    """Whether the browser came by TLS, to this process or to a proxy before it."""
    passed = request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or passed.partition(",")[0].strip().lower() == "https"


async def _body(request: Request, entrance: Admission) -> bytes:
    head = RequestHeaders(request.headers.raw)
    if head.length is None or head.length > _LONGEST:
        raise ProblemError(Problem(kind="request_too_large", message="This is longer than a key."))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise invalid('Send the key as JSON: {"key": "..."}.')
    return await entrance.body(request.receive, head.length)


def _key(data: bytes) -> str:
    try:
        value = jsonio.loads(data)
    except ValueError:
        value = None
    key = value.get("key") if isinstance(value, dict) else None
    if not isinstance(key, str) or not key:
        raise invalid('Send the key as JSON: {"key": "..."}.', "key")
    return key.strip()
