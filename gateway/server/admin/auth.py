"""Authentication of admins: by an admin key, or, if none exists, for this machine only.

The gateway refuses requests that a foreign web page makes a local browser send. Without an admin
key it also refuses requests through a proxy, since every client of a proxy looks local.
"""

import hmac
from collections.abc import Callable
from typing import Literal, NamedTuple, Self

from fastapi import Request

from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError, ProblemKind
from gateway.limits.keys import KeyTable
from gateway.runtime.composition import Gateway
from gateway.server.dashboard.session import (
    COOKIE_NAME,
    MAIN_ADMIN,
    DashboardSessions,
    hash_secret,
)
from gateway.server.host_header import is_loopback, parse_name
from gateway.server.identity.person import find_needed_role, has_role, may_see_path
from gateway.server.request_headers import RequestHeaders
from gateway.state.ended_sessions import EndedSessions

KEY_VARIABLE = "TIERGATE_ADMIN_KEY"
LOCAL_ADMIN = "local"
"""The name of every user of this machine, while there is no admin key."""
_SEND_HINT = "Send it as `Authorization: Bearer <key>`."
_SET_HINT = f"Set {KEY_VARIABLE}, and send it as `Authorization: Bearer <key>`."
_PROXY_HEADERS = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip",
     "x-cluster-client-ip", "x-original-host", "x-original-url"}
)  # fmt: skip
_ALLOWED_FETCH_SITES = ("none", "same-origin")


class AdminIdentity(NamedTuple):
    """The admin who sends a request, as stores and the audit name them."""

    name: str
    via: Literal["api", "dashboard"]


class AdminAuth:
    """A FastAPI dependency that lets admins pass. `secret` is the admin key, or empty.

    A user who has signed in to the dashboard needs no header. `cookie_root` is the secret that the
    session cookies are signed with.
    """

    def __init__(
        self,
        secret: str,
        keys: KeyTable,
        cookie_root: bytes,
        ended_sessions: EndedSessions,
        find_people_key: Callable[[], bytes],
    ) -> None:
        self._digest = hash_secret(secret) if secret else b""
        self._secret = secret
        self._keys = keys
        self.sessions = DashboardSessions(
            cookie_root, secret, keys, ended_sessions, find_people_key=find_people_key
        )

    @classmethod
    def from_gateway(cls, gateway: Gateway) -> Self:
        """Build the authentication of a gateway."""

        def find_people_key() -> bytes:
            sign_in = gateway.built_config.source.config.sign_in
            return b"" if sign_in is None else hash_secret(sign_in.model_dump_json())

        return cls(
            gateway.admin_key,
            gateway.keys,
            gateway.cookie,
            gateway.ended_sessions,
            find_people_key,
        )

    async def __call__(self, request: Request) -> None:
        """Let admins pass. Raises ProblemError: invalid_api_key, not_allowed, rate_limited."""
        headers = RequestHeaders(request.headers.raw)
        # Looked up for each request: client keys come and go.
        client_key = find_key(self._keys, self._secret)
        if client_key is not None and not client_key.admin:
            raise _refuse(
                "not_allowed", f"{KEY_VARIABLE} is a client's key too: set one that no client has."
            )
        if self.sessions.has_admin_key:
            request.state.admin = await self._check_secret(headers, request)
        else:
            check_local(request)
            request.state.admin = AdminIdentity(LOCAL_ADMIN, "api")

    async def _check_secret(self, headers: RequestHeaders, request: Request) -> AdminIdentity:
        """Return the admin who sends a request."""
        if not headers.secrets:
            if await self.sessions.is_signed_in(request):
                self._check_person(request)
                cookie = request.cookies.get(COOKIE_NAME, "")
                return AdminIdentity(self.sessions.find_admin(cookie), "dashboard")
            raise _refuse(
                "invalid_api_key", f"The request needs an admin key ({KEY_VARIABLE}). {_SEND_HINT}"
            )
        if len(headers.secrets) > 1:
            raise _refuse(
                "invalid_api_key", "The request has two different keys: send only the admin key."
            )
        (secret,) = headers.secrets
        # The comparison uses hashes, so its duration reveals nothing about either key.
        is_admin_key = bool(self._digest) & hmac.compare_digest(hash_secret(secret), self._digest)
        client_key = find_key(self._keys, secret)
        if is_admin_key:
            return AdminIdentity(MAIN_ADMIN, "api")
        if client_key is None or not client_key.admin:
            if client_key is None:
                if (refusal := self._keys.refusal) is not None:
                    raise ProblemError(refusal)
                self._keys.wrong_key_counter.count(secret)
            raise _refuse("invalid_api_key", f"This is not an admin key ({KEY_VARIABLE}).")
        return AdminIdentity(client_key.name, "api")

    def _check_person(self, request: Request) -> None:
        """Refuse what the role or the team of a person does not allow.

        Raises ProblemError: not_allowed.
        """
        person = self.sessions.find_person(request.cookies[COOKIE_NAME])
        if person is None:
            return
        path = request.url.path
        needed_role = find_needed_role(request.method, path)
        if not has_role(person.role, needed_role):
            message = f"This needs the role {needed_role}, and you are {person.role}."
            raise _refuse("not_allowed", message)
        if not may_see_path(person, path):
            message = f"This page is for those who see all teams, and you see {person.team}."
            raise _refuse("not_allowed", message)
        request.state.team = person.team


def get_team(request: Request) -> str:
    """Return the team whose calls alone the sender of a request sees; empty if those of all."""
    return str(getattr(request.state, "team", ""))


def get_admin(request: Request) -> AdminIdentity:
    """Return the admin whom the guard has let pass."""
    identity: AdminIdentity = request.state.admin
    return identity


def may_see_team(request: Request, team: str | None) -> bool:
    """True if the sender of a request may see calls of a team."""
    return get_team(request) in ("", team)


def check_local(request: Request) -> None:
    """Accept only a direct request of a program on this machine: no admin key exists.

    Raises ProblemError: not_allowed.
    """
    headers = request.headers
    if request.client is None or not is_loopback(request.client.host):
        raise _refuse(
            "not_allowed",
            f"Without an admin key the gateway answers only this machine. {_SET_HINT}",
        )
    # Today's programs speak HTTP/1.1. nginx before 1.29.7 forwards with 1.0, without headers
    # that name a proxy.
    is_http_1_0 = request.scope.get("http_version") == "1.0"
    if is_http_1_0 or any(
        name in _PROXY_HEADERS or name.startswith("x-forwarded") for name in headers
    ):
        message = (
            f"Without an admin key the gateway answers no request through a proxy. {_SET_HINT}"
        )
        raise _refuse("not_allowed", message)
    host = headers.get("host", "")
    if not is_loopback(parse_name(host.encode("latin-1"))):
        message = (
            f"Without an admin key the host must be 127.0.0.1, [::1] or localhost. {_SET_HINT}"
        )
        raise _refuse("not_allowed", message)
    origin, fetch_site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if fetch_site not in _ALLOWED_FETCH_SITES or (
        origin is not None and origin.lower() != f"http://{host}".lower()
    ):
        message = f"Without an admin key the gateway answers no page of another origin. {_SET_HINT}"
        raise _refuse("not_allowed", message)


def find_key(keys: KeyTable, secret: str) -> Key | None:
    """Return the client key that has this secret; None if there is none."""
    if keys.is_open or not secret:
        return None
    try:
        return keys.find(secret)
    except ProblemError:
        return None


def _refuse(kind: ProblemKind, message: str) -> ProblemError:
    return ProblemError(Problem(kind=kind, message=message))
