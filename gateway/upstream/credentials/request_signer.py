"""The protocol of all clouds: what a credential adds to a request."""

from typing import Protocol

import httpx
import msgspec


class CredentialError(Exception):
    """No credential can be had. The message is for the operator, and has no secret."""


class CredentialStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A credential for people; it has no secret."""

    source: str
    """The source, such as `the role of this machine (IMDSv2)`."""
    identity: str | None = None
    """The owner, such as an access key id or the address of a service account."""
    expires_at: float | None = None
    """When it ends, in seconds since the epoch; None if it has no end."""


class RequestSigner(Protocol):
    """Adds the credential of a cloud to requests."""

    async def sign(self, method: str, url: httpx.URL, body: bytes | None) -> list[tuple[str, str]]:
        """Return the headers that authorize a request. Raises CredentialError.

        `body` is None for a body that is sent in pieces.
        """
        ...

    async def fetch_status(self) -> CredentialStatus:
        """Return the status; fetch a credential if there is none. Raises CredentialError."""
        ...

    async def close(self) -> None:
        """End a refresh that runs, and close connections."""
        ...
