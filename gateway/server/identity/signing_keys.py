"""The public keys with which an identity provider signs its tokens.

    unknown --read--> known --ten minutes, or an unknown key id--> read again, at most once a minute

While the provider is away, the last keys serve. Sources: OpenID Connect Discovery 1.0, section 4;
RFC 7517 (JSON Web Key).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.telemetry.log import Log
from gateway.upstream.fetch_document import FetchDocument

_REFRESH_SECONDS = 600.0
"""Seconds after which the keys are read again, so that a withdrawn key stops working."""
_RETRY_SECONDS = 60.0
"""Seconds between two reads, whatever key ids clients make up."""


class SigningKeys:
    """The keys of one identity provider. `clock` returns monotonic seconds."""

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        *,
        fetch: FetchDocument,
        clock: Callable[[], float],
        log: Log,
    ) -> None:
        """Prepare; `jwks_url` None leaves the URL of the keys to the discovery document."""
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._fetch = fetch
        self._clock = clock
        self._log = log
        self._keys: KeySet | None = None
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()
        self._is_away = False

    async def find(self, key_id: str | None) -> KeySet:
        """Return the keys, read again if they are old or have no key of this id.

        Raises ProblemError: overloaded, if no keys were ever read.
        """
        if self._needs_read(key_id):
            async with self._reading:
                if self._needs_read(key_id):
                    self._tried_at = self._clock()
                    await self._read()
        if self._keys is None:
            message = (
                "The gateway cannot check the token now, as it cannot read the identity provider's "
                "keys. Try again soon."
            )
            raise ProblemError(Problem(kind="overloaded", message=message, retry_after=10.0))
        return self._keys

    def _needs_read(self, key_id: str | None) -> bool:
        now = self._clock()
        if now - self._tried_at < _RETRY_SECONDS:
            return False
        if self._keys is None or now - self._read_at >= _REFRESH_SECONDS:
            return True
        return key_id is not None and all(key.kid != key_id for key in self._keys)

    async def _read(self) -> None:
        try:
            url = self._jwks_url or await self._discover()
            self._keys = _parse_keys(await self._fetch(url))
        except (OSError, ValueError, JoseError) as error:
            if not self._is_away:
                self._is_away = True
                self._log("tokens", text=f"cannot read the keys of {self._issuer}: {error}")
            return
        self._read_at = self._clock()
        if self._is_away:
            self._is_away = False
            self._log("tokens", text=f"reads the keys of {self._issuer} again")

    async def _discover(self) -> str:
        """Return the URL of the keys. Raises OSError and ValueError."""
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = _parse_object(await self._fetch(url))
        if document.get("issuer") != self._issuer:  # Discovery 1.0, section 4.3
            raise ValueError(f"{url} is the document of another issuer")
        keys_url = document.get("jwks_uri")
        if not isinstance(keys_url, str):
            raise ValueError(f"{url} names no keys")  # noqa: TRY004 - one error for a bad document
        return keys_url


def _parse_object(data: bytes) -> dict[str, Any]:
    value = jsonio.loads(data)
    if not isinstance(value, dict):
        raise ValueError("the document is not a JSON object")  # noqa: TRY004 - as above
    return value


def _parse_keys(data: bytes) -> KeySet:
    """Return the public keys for signatures; secrets and keys for encryption are left out.

    Raises ValueError and JoseError.
    """
    rows = _parse_object(data).get("keys")
    usable = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and row.get("kty") != "oct" and row.get("use", "sig") == "sig"
    ]
    if not usable:
        raise ValueError("the document has no public keys for signatures")
    return KeySet.import_key_set({"keys": usable})
