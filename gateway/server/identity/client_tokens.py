"""Tokens of identity providers as the credentials of clients.

    unknown --verified--> in the key table until it expires, as one more secret of a key

A token is verified once, in `learn`, before the request's key is looked up. From then on it is a
hash in the key table, as every secret is.
"""

import base64
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError
from gateway.limits.keys import TokenUser, hash_secret
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.identity.claims import Claims, iter_claim_values
from gateway.server.request_headers import RequestHeaders, looks_like_token
from gateway.settings.schema.tokens import TokenIssuerPart
from gateway.upstream.fetch_document import FetchDocument, fetch_document

if TYPE_CHECKING:
    from gateway.server.identity.token_verifier import TokenVerifier

LEEWAY_SECONDS = 60
"""Seconds by which the clocks of two machines may differ."""
_MAX_TOKEN_CHARS = 16_384


class ClientTokens:
    """Verifies tokens, and adds each to the key table as a secret of the key that it is mapped to.

    It follows the configuration in force. `clock` returns monotonic seconds, `wall` seconds since
    the epoch.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        fetch: FetchDocument | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._gateway = gateway
        self._fetch = fetch or fetch_document
        self._clock = clock
        self._wall = wall
        self._built_config: object = None
        self._parts: dict[str, TokenIssuerPart] = {}
        self._verifiers: dict[str, TokenVerifier] = {}
        self._adopt_config()

    @property
    def is_on(self) -> bool:
        """True if the configuration in force has an issuer of tokens."""
        if self._built_config is not self._gateway.built_config:
            self._adopt_config()
        return bool(self._parts)

    async def identify(self, headers: RequestHeaders) -> Key:
        """Return the key of a request, by a secret of the key table or by a token.

        Raises ProblemError: the refusal of the key table if the request has no token, and else as
        `learn`.
        """
        try:
            return request_headers.identify(self._gateway.keys, headers)
        except ProblemError:
            await self.learn(headers)
            digest = headers.secret_digest
            token = None if digest is None else self._gateway.keys.find_token(digest)
            if token is None:
                raise
        headers.token_user = token.end_user
        return token.key

    async def learn(self, headers: RequestHeaders) -> None:
        """Verify the token of a request, if it has one that the key table does not have yet.

        Raises ProblemError: invalid_api_key, not_allowed, overloaded; rate_limited after many
        wrong ones.
        """
        token = next(iter(headers.secrets), "") if len(headers.secrets) == 1 else ""
        if not self.is_on or not looks_like_token(token):
            return
        keys = self._gateway.keys
        digest = hash_secret(token)
        if keys.find_token(digest) is not None:
            return
        try:
            part, verifier = self._find_issuer(token)
            claims = await verifier.verify(token)
            if self._gateway.built_config is not self._built_config:
                await self.learn(headers)  # meanwhile another configuration came into force
                return
            _check_not_denied(claims, part.deny)
            secret = keys.find_active(_find_key_name(part, claims))
            _check_not_denied(claims, secret.key.denied_tokens)
            end_user, expires_at = _find_end_user(part, claims), claims["exp"] + LEEWAY_SECONDS
            keys.add_token(digest, secret, end_user, expires_at)
        except ProblemError as error:
            if error.problem.kind != "overloaded":
                keys.wrong_key_counter.count(token)
            raise

    def _find_issuer(self, token: str) -> "tuple[TokenIssuerPart, TokenVerifier]":
        issuer = read_issuer(token)
        if issuer not in self._parts:
            message = "The gateway does not know the issuer of this token."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        return self._parts[issuer], self._verifiers[issuer]

    def _adopt_config(self) -> None:
        self._built_config = self._gateway.built_config
        parts = self._gateway.built_config.source.config.tokens
        self._parts = {part.issuer: part for part in parts}
        self._verifiers = {part.issuer: self._make_verifier(part) for part in parts}
        self._gateway.keys.takes_tokens = bool(parts)
        self._gateway.keys.forget_tokens()

    def _make_verifier(self, part: TokenIssuerPart) -> "TokenVerifier":
        # The extra `oidc`: a gateway that takes no tokens does not have it.
        from gateway.server.identity.signing_keys import SigningKeys  # noqa: PLC0415
        from gateway.server.identity.token_verifier import TokenVerifier  # noqa: PLC0415

        signing_keys = SigningKeys(
            part.issuer, part.jwks, fetch=self._fetch, clock=self._clock, log=self._gateway.log
        )
        return TokenVerifier(
            part.issuer, part.audience, part.algorithms, signing_keys, wall=self._wall
        )


def _check_not_denied(claims: Claims, denied: Iterable[str]) -> None:
    """Refuse a token that one of these denies: `sub=SUBJECT` or `jti=TOKEN`."""
    for item in denied:
        name, _, value = item.partition("=")
        if claims.get(name) == value:
            message = "The operator of the gateway has withdrawn this token."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))


def _find_key_name(part: TokenIssuerPart, claims: Claims) -> str:
    """Return the name of the key that a token is mapped to. Raises ProblemError."""
    values = set(iter_claim_values(claims, part.claim))
    for value, key_name in part.keys.items():
        if value in values:
            return key_name
    message = (
        f"The token gives no access: no value of its claim {part.claim!r} is one that the gateway "
        "maps to a key. Ask the operator of the gateway."
    )
    raise ProblemError(Problem(kind="not_allowed", message=message))


def _find_end_user(part: TokenIssuerPart, claims: Claims) -> TokenUser:
    """Return the end user of a token. Raises ProblemError if it lacks the claim that names one."""
    if part.user is None:
        return TokenUser(str(claims["sub"]), is_fixed=False)
    user = next(iter_claim_values(claims, part.user), "")
    if not user:
        message = (
            f"The token gives no access: it has no claim {part.user!r}, which names the end user. "
            "Ask the operator of the gateway."
        )
        raise ProblemError(Problem(kind="not_allowed", message=message))
    return TokenUser(user, is_fixed=True)


def read_issuer(token: str) -> str:
    """Return the issuer that a token names, unverified; empty if it names none."""
    payload = token.split(".")[1]
    try:
        claims = jsonio.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return ""
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) and len(token) <= _MAX_TOKEN_CHARS else ""
