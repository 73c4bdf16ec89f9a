"""Verification of an identity provider's tokens (JWT): signature, issuer, audience and time.

Sources: RFC 7519 (JWT), RFC 8725 (its best current practices), RFC 9068 (access tokens as JWT).
"""

from collections.abc import Callable, Sequence

from joserfc import jws, jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)

from gateway.core.errors import Problem, ProblemError
from gateway.server.identity.claims import Claims
from gateway.server.identity.client_tokens import LEEWAY_SECONDS
from gateway.server.identity.signing_keys import SigningKeys


class TokenVerifier:
    """Verifies the tokens of one issuer. `wall` returns seconds since the epoch."""

    def __init__(
        self,
        issuer: str,
        audiences: Sequence[str],
        algorithms: Sequence[str],
        keys: SigningKeys,
        *,
        wall: Callable[[], float],
    ) -> None:
        self._algorithms = list(algorithms)
        self._keys = keys
        self._registry = jwt.JWTClaimsRegistry(
            now=lambda: int(wall()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "values": list(audiences)},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def verify(self, token: str) -> Claims:
        """Return the claims of a valid token.

        Raises ProblemError: invalid_api_key; overloaded, if the issuer's keys are not known.
        """
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError):
            raise _refuse("The token is broken: get a new one.") from None
        key_id = header.get("kid")
        keys = await self._keys.find(key_id if isinstance(key_id, str) else None)
        try:
            claims = jwt.decode(token, keys, algorithms=self._algorithms).claims
            self._registry.validate(claims)
        except ExpiredTokenError:
            message = "The token has expired: get a new one from the identity provider."
            raise _refuse(message) from None
        except (InvalidClaimError, MissingClaimError) as error:
            message = f"The gateway does not accept the token: its claim {error.claim!r} is wrong."
            raise _refuse(message) from None
        except (JoseError, ValueError, TypeError):
            message = "The signature of the token is not valid: get a new one."
            raise _refuse(message) from None
        return claims


def _refuse(message: str) -> ProblemError:
    return ProblemError(Problem(kind="invalid_api_key", message=message))
