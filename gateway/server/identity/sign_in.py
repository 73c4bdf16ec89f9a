"""The sign-in of people by an identity provider: authorization code with PKCE.

    browser --/dashboard/sign-in--> identity provider --code--> /dashboard/signed-in --> session

A signed cookie keeps what the end of a sign-in must match: state, nonce and code verifier. Sources:
OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9700 (security best practice).
"""

import base64
import hmac
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.server.identity.claims import Claims, iter_claim_values
from gateway.server.identity.discovery import get_endpoint, read_discovery
from gateway.server.identity.person import ROLES, Person
from gateway.server.identity.signing_keys import SigningKeys
from gateway.server.identity.token_verifier import TokenVerifier
from gateway.settings.schema.sign_in import Role, SignInPart
from gateway.telemetry.log import Log
from gateway.upstream.fetch_document import HTTP_ERRORS, FetchDocument

SIGN_IN_SECONDS = 600.0
"""Seconds that a person has at the identity provider."""
_TIMEOUT_SECONDS = 10.0
"""The most seconds that the identity provider may take to exchange a code."""
_MAX_NAME_CHARS = 80
_CLIENT_AUTH = "client_secret_basic"
"""How the gateway shows its secret to the identity provider."""


class PendingSignIn(msgspec.Struct, frozen=True):
    """What the end of a sign-in must match."""

    state: str
    nonce: str
    verifier: str
    ends_at: float
    """Seconds since the epoch."""


_read_pending = jsonio.make_reader(PendingSignIn)


class SignIn:
    """Signs people in. `root` signs the cookies of pending sign-ins."""

    def __init__(
        self,
        part: SignInPart,
        root: bytes,
        *,
        fetch: FetchDocument,
        clock: Callable[[], float],
        wall: Callable[[], float],
        log: Log,
    ) -> None:
        """`clock` returns monotonic seconds, `wall` seconds since the epoch."""
        self._part = part
        self._root = root
        self._fetch = fetch
        self._wall = wall
        self._log = log
        self._verifier = TokenVerifier(
            part.issuer,
            [part.client_id],
            part.algorithms,
            SigningKeys(part.issuer, None, fetch=fetch, clock=clock, log=log),
            wall=wall,
        )

    async def begin(self, redirect_uri: str) -> tuple[str, str]:
        """Return the URL at the identity provider for a person, and the cookie to set.

        Raises ProblemError: overloaded.
        """
        pending = PendingSignIn(
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            self._wall() + SIGN_IN_SECONDS,
        )
        url = await self._find_endpoint("authorization_endpoint")
        async with self._make_client(redirect_uri) as client:
            target, _ = client.create_authorization_url(
                url, state=pending.state, nonce=pending.nonce, code_verifier=pending.verifier
            )
        return str(target), self._encode(pending)

    async def finish(self, query: dict[str, str], cookie: str, redirect_uri: str) -> Person:
        """Return the person who comes back from the identity provider.

        Raises ProblemError: invalid_api_key, not_allowed, overloaded.
        """
        pending = self._decode(cookie)
        is_same = pending is not None and hmac.compare_digest(
            pending.state.encode(), query.get("state", "").encode()
        )
        if pending is None or not is_same or self._wall() > pending.ends_at:
            raise _refuse("This sign-in is not known or took too long. Begin again.")
        if query.get("iss", self._part.issuer) != self._part.issuer:  # RFC 9207
            raise _refuse("Another identity provider has answered. Begin again.")
        if "code" not in query:
            raise _refuse("The identity provider has not signed this person in. Begin again.")
        id_token = await self._exchange(query["code"], pending, redirect_uri)
        claims = await self._verifier.verify(id_token)
        if claims.get("nonce") != pending.nonce:
            raise _refuse("The identity provider's answer belongs to another sign-in. Begin again.")
        values = set(iter_claim_values(claims, self._part.claim))
        role = self._find_role(values)
        teams = (team for value, team in self._part.teams.items() if value in values)
        return Person(_find_name(claims), role, next(teams, "") if role == "viewer" else "")

    async def _exchange(self, code: str, pending: PendingSignIn, redirect_uri: str) -> str:
        """Return the ID token for a code. Raises ProblemError."""
        url = await self._find_endpoint("token_endpoint")
        try:
            async with self._make_client(redirect_uri) as client:
                token: dict[str, Any] = await client.fetch_token(
                    url, code=code, code_verifier=pending.verifier
                )
        except (AuthlibBaseError, *HTTP_ERRORS) as error:
            self._log("sign_in", text=f"the identity provider gives no token: {error}")
            raise _refuse("The identity provider has refused this sign-in. Begin again.") from None
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise _refuse("The identity provider gives no ID token. Ask the operator.")
        return id_token

    async def _find_endpoint(self, name: str) -> str:
        """Return an endpoint of the identity provider. Raises ProblemError: overloaded."""
        try:
            return get_endpoint(await read_discovery(self._part.issuer, self._fetch), name)
        except (OSError, ValueError) as error:
            self._log("sign_in", text=f"cannot read about {self._part.issuer}: {error}")
            message = "The gateway cannot reach the identity provider. Try again soon."
            raise ProblemError(
                Problem(kind="overloaded", message=message, retry_after=10.0)
            ) from None

    def _make_client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._part.client_id,
            self._part.client_secret or None,
            token_endpoint_auth_method=_CLIENT_AUTH if self._part.client_secret else "none",
            scope=" ".join(self._part.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=_TIMEOUT_SECONDS,
        )

    def _find_role(self, values: set[str]) -> Role:
        for role in reversed(ROLES):
            if not values.isdisjoint(self._part.roles.get(role, ())):
                return role
        message = (
            f"No value of the claim {self._part.claim!r} gives this person a role here. "
            "Ask the operator of the gateway."
        )
        raise ProblemError(Problem(kind="not_allowed", message=message))

    def _encode(self, pending: PendingSignIn) -> str:
        body = base64.urlsafe_b64encode(jsonio.dumps(msgspec.structs.asdict(pending))).decode()
        return f"{body}.{self._sign(body)}"

    def _decode(self, cookie: str) -> PendingSignIn | None:
        body, _, signature = cookie.rpartition(".")
        if not cookie.isascii() or not hmac.compare_digest(signature, self._sign(body)):
            return None
        pending: PendingSignIn = _read_pending(base64.urlsafe_b64decode(body))
        return pending

    def _sign(self, body: str) -> str:
        return hmac.new(self._root, f"sign-in {body}".encode(), "sha256").hexdigest()


def _find_name(claims: Claims) -> str:
    email = claims.get("email")
    name = email if isinstance(email, str) and email else str(claims["sub"])
    return name[:_MAX_NAME_CHARS]


def _refuse(message: str) -> ProblemError:
    return ProblemError(Problem(kind="invalid_api_key", message=message))
