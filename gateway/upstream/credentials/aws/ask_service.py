"""Ask STS or a metadata address; what goes wrong is a CredentialError."""

from collections.abc import Awaitable, Mapping
from typing import Protocol

import httpx

from gateway.upstream.credentials.identity_request import (
    PROBE_SECONDS,
    IdentityRequestError,
    IdentityResponse,
)
from gateway.upstream.credentials.request_signer import CredentialError


class SendRequest(Protocol):
    """Sends a request; see `send_identity_request`. Raises IdentityRequestError."""

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        proxy: str | None = None,
        seconds: float = ...,
    ) -> Awaitable[IdentityResponse]:
        """Send a request; see the class."""
        ...


async def ask_service(answer: Awaitable[IdentityResponse]) -> IdentityResponse:
    """Return an answer of any status. Raises CredentialError."""
    try:
        return await answer
    except IdentityRequestError as error:
        raise CredentialError(str(error)) from None


async def ask_metadata(
    send: SendRequest, method: str, url: httpx.URL, headers: Mapping[str, str]
) -> IdentityResponse:
    """Return a metadata address's answer of status 200. Raises CredentialError.

    Each answer must come within a second, as AWS's SDKs wait for instance metadata. In a container
    behind the instance's hop limit a connection is made, and no answer ever comes.
    """
    answer = await ask_service(send(method, str(url), headers=headers, seconds=PROBE_SECONDS))
    if answer.status != httpx.codes.OK:
        raise CredentialError(f"{url.host} answers {answer.status}")
    return answer


def parse_url(name: str, text: str) -> httpx.URL:
    """Return an http(s) URL that a variable holds. Raises CredentialError."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise CredentialError(f"{name} is no URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise CredentialError(f"{name} is no http:// or https:// URL")
    return url
