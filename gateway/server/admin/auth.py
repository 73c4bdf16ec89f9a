"""Who may see what is everybody's: whoever has an admin's key, or, where none is set, this machine.

What a browser on this machine can be made to ask by a page from elsewhere is refused, and what has
come through a proxy, which would make everybody a loopback peer.
"""

import hmac
from typing import Self

from fastapi import Request

from gateway.core.call import Key
from gateway.core.errors import Kind, Problem, ProblemError
from gateway.limits.keys import KeyTable
from gateway.runtime.composition import Gateway
from gateway.server.dashboard.session import DashboardSessions, digest
from gateway.server.host_header import is_loopback, name_of
from gateway.server.request_headers import RequestHeaders
from gateway.state.ended_sessions import EndedSessions

VARIABLE = "TIERGATE_ADMIN_KEY"
_SEND = "Send it as `Authorization: Bearer <key>`."
_SET = f"Set {VARIABLE}, and send it as `Authorization: Bearer <key>`."
_PASSED_ON = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip",
     "x-cluster-client-ip", "x-original-host", "x-original-url"}
)  # fmt: skip
_HERE = ("none", "same-origin")


class AdminAuth:
    """A FastAPI dependency that lets admins pass. `secret` is the admin key, or empty.

    Whoever has signed in to the dashboard needs no header; `cookie` is what cookies are made with.
    """

    def __init__(self, secret: str, keys: KeyTable, cookie: bytes, ended: EndedSessions) -> None:
        self._digest = digest(secret) if secret else b""
        self._secret = secret
        self._keys = keys
        self.sessions = DashboardSessions(cookie, secret, keys, ended)

    @classmethod
    def of(cls, gateway: Gateway) -> Self:
        """That of a gateway."""
        return cls(gateway.admin_key, gateway.keys, gateway.cookie, gateway.ended_sessions)

    async def __call__(self, request: Request) -> None:
        """Pass, or raise ProblemError: invalid_api_key, not_allowed, rate_limited."""
        head = RequestHeaders(request.headers.raw)
        # Of each request anew: keys of clients come and go.
        client = key_of(self._keys, self._secret)
        if client is not None and not client.admin:
            raise _refuse(
                "not_allowed", f"{VARIABLE} is a client's key too: set one that is no client's."
            )
        if self.sessions.needed:
            await self._check(head, request)
        else:
            check_place(request)

    async def _check(self, head: RequestHeaders, request: Request) -> None:
        if not head.secrets:
            if await self.sessions.passes(request):
                return
            raise _refuse("invalid_api_key", f"An admin's key ({VARIABLE}) is required. {_SEND}")
        if len(head.secrets) > 1:
            raise _refuse("invalid_api_key", "Two different keys came: send the admin key alone.")
        (secret,) = head.secrets
        # Of hashes: the time that it takes tells nothing of either key.
        set_so = bool(self._digest) & hmac.compare_digest(digest(secret), self._digest)
        client = key_of(self._keys, secret)
        if not set_so and (client is None or not client.admin):
            if client is None:
                self._keys.guesses.count(secret)
            raise _refuse("invalid_api_key", f"This is no admin's key ({VARIABLE}).")


def check_place(request: Request) -> None:
    """Without an admin key: only what a program on this machine asks for itself.

    Raises ProblemError: not_allowed.
    """
    headers = request.headers
    if request.client is None or not is_loopback(request.client.host):
        raise _refuse("not_allowed", f"Without an admin key only this machine is answered. {_SET}")
    # Programs of today speak 1.1; nginx before 1.29.7 asks with 1.0, and says nothing of itself.
    old = request.scope.get("http_version") == "1.0"
    if old or any(name in _PASSED_ON or name.startswith("x-forwarded") for name in headers):
        message = f"Without an admin key nothing is answered through a proxy. {_SET}"
        raise _refuse("not_allowed", message)
    host = headers.get("host", "")
    if not is_loopback(name_of(host.encode("latin-1"))):
        message = f"Without an admin key the host must be 127.0.0.1, [::1] or localhost. {_SET}"
        raise _refuse("not_allowed", message)
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site not in _HERE or (origin is not None and origin.lower() != f"http://{host}".lower()):
        message = f"Without an admin key no page of another origin is answered. {_SET}"
        raise _refuse("not_allowed", message)


def key_of(keys: KeyTable, secret: str) -> Key | None:
    """Return the client's key that a secret is, where it is one."""
    if keys.is_open or not secret:
        return None
    try:
        return keys.find(secret)
    except ProblemError:
        return None


def _refuse(kind: Kind, message: str) -> ProblemError:
    return ProblemError(Problem(kind=kind, message=message))
