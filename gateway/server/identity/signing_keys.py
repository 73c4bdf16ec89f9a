"""The public keys with which an identity provider signs its tokens.

    unknown --read--> known --ten minutes, or an unknown key id--> read again, at most once a minute

While the provider is away, the last keys serve. Source: RFC 7517 (JSON Web Key).
"""

import asyncio
from collections.abc import Callable

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.core.errors import Problem, ProblemError
from gateway.server.identity.discovery import get_endpoint, parse_object, read_discovery
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
            url = self._jwks_url or get_endpoint(
                await read_discovery(self._issuer, self._fetch), "jwks_uri"
            )
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


def _parse_keys(data: bytes) -> KeySet:
    """Return the public keys for signatures; secrets and keys for encryption are left out.

    Raises ValueError and JoseError.
    """
    rows = parse_object(data).get("keys")
    usable = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and row.get("kty") != "oct" and row.get("use", "sig") == "sig"
    ]
    if not usable:
        raise ValueError("the document has no public keys for signatures")
    return KeySet.import_key_set({"keys": usable})
