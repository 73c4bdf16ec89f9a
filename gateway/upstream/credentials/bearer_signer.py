"""The signer of clouds whose credential is an access token: `authorization: Bearer ...`."""

import math
import re
from collections.abc import Callable

import httpx

from gateway.upstream.credentials.refreshing_credential import (
    FetchCredential,
    IssuedCredential,
    RefreshingCredential,
)
from gateway.upstream.credentials.request_signer import CredentialError, CredentialStatus

type Headers = tuple[tuple[str, str], ...]
"""The headers that authorize a request."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
"""The characters that a header may have."""
_UNKNOWN_LIFE_SECONDS = 300.0
"""The life of a token whose end its source leaves out (RFC 6749, 5.1, allows that)."""


class BearerSigner:
    """Adds an access token to requests. The token is the same for each request until its end."""

    def __init__(
        self,
        fetch: FetchCredential[Headers],
        *,
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """Take the source, a clock in seconds since the epoch, and random numbers of 0 to 1."""
        self._credential = RefreshingCredential(fetch, wall=wall, jitter=jitter)

    async def sign(self, method: str, url: httpx.URL, body: bytes | None) -> list[tuple[str, str]]:
        """Return the headers that authorize a request. Raises CredentialError."""
        del method, url, body
        return list((await self._credential.get()).value)

    async def fetch_status(self) -> CredentialStatus:
        """Return the status of the token; fetch one if there is none. Raises CredentialError."""
        return (await self._credential.get()).status

    async def close(self) -> None:
        """End a refresh that runs."""
        await self._credential.close()


def issue_token(
    token: object,
    *,
    source: str,
    identity: object,
    expires_at: float | None,
    now: float,
    headers: Headers = (),
) -> IssuedCredential[Headers]:
    """Return an access token of a service as a credential. Raises CredentialError if it is none.

    Times are in seconds since the epoch. `headers` go with each request beside the token.
    """
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise CredentialError(f"{source}: the answer has no access token.")
    return IssuedCredential(
        value=(("authorization", f"Bearer {token}"), *headers),
        status=CredentialStatus(
            source=source,
            identity=identity if isinstance(identity, str) else None,
            expires_at=now + _UNKNOWN_LIFE_SECONDS if expires_at is None else expires_at,
        ),
    )


def read_seconds(value: object) -> float | None:
    """Return a number of seconds that a service writes as a number or as text."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
