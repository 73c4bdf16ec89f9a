"""The two steps of a sign-in by an identity provider, as pages of the dashboard."""

import time

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from gateway.core.errors import ProblemError
from gateway.runtime.composition import Gateway
from gateway.server.admin.audit import record_act
from gateway.server.admin.auth import AdminAuth, AdminIdentity
from gateway.server.dashboard.routes import SAFE_HEADERS, is_tls
from gateway.server.dashboard.session import set_cookie, set_session_cookie
from gateway.server.identity.sign_in_lookup import SignInLookup

_PENDING_COOKIE = "tiergate-sign-in"
_PENDING_SECONDS = 600
_FAILURES = {"not_allowed": "no-role", "overloaded": "away", "not_found": "off"}
"""What the dashboard says of a failed sign-in, by the kind of the problem."""


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Add the routes to an app."""
    sessions = AdminAuth.from_gateway(gateway).sessions
    lookup = SignInLookup(gateway, clock=time.monotonic, wall=time.time)

    @app.get("/dashboard/sign-in", include_in_schema=False)
    async def begin(request: Request) -> Response:
        try:
            url, pending = await lookup.get().begin(_build_redirect_uri(request))
        except ProblemError as error:
            return _redirect_failure(error)
        response = _redirect(url)
        _set_pending_cookie(response, pending, secure=is_tls(request))
        return response

    @app.get("/dashboard/signed-in", include_in_schema=False)
    async def finish(request: Request) -> Response:
        try:
            person = await lookup.get().finish(
                dict(request.query_params),
                request.cookies.get(_PENDING_COOKIE, ""),
                _build_redirect_uri(request),
            )
        except ProblemError as error:
            return _redirect_failure(error)
        gateway.log("sign_in", text=f"{person.name} has signed in", role=person.role)
        request.state.admin = AdminIdentity(person.name, "dashboard")
        await record_act(gateway, request, "session.begin", after={"role": person.role})
        response = _redirect("/dashboard")
        set_session_cookie(response, sessions.begin_person(person), secure=is_tls(request))
        _set_pending_cookie(response, "", secure=is_tls(request))
        return response


def _build_redirect_uri(request: Request) -> str:
    """Return the URL to which the identity provider sends a person back."""
    scheme = "https" if is_tls(request) else "http"
    return f"{scheme}://{request.headers.get('host', '')}/dashboard/signed-in"


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, headers={**SAFE_HEADERS, "cache-control": "no-store"})


def _redirect_failure(error: ProblemError) -> Response:
    return _redirect(f"/dashboard?sign-in={_FAILURES.get(error.problem.kind, 'failed')}")


def _set_pending_cookie(response: Response, value: str, *, secure: bool) -> None:
    """Set the cookie of a pending sign-in, or remove it if `value` is empty.

    It is sent with the navigation from the identity provider's site, hence not `strict`.
    """
    set_cookie(
        response,
        _PENDING_COOKIE,
        value,
        _PENDING_SECONDS,
        secure=secure,
        path="/dashboard",
        same_site="lax",
    )
