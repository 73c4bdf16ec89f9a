"""Sign requests with the credential that AWS gives to this machine."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping

import httpx

from gateway.core.cloud_auth import AwsAuth
from gateway.upstream.credentials.aws.ask_service import SendRequest
from gateway.upstream.credentials.aws.aws_credential import AwsCredential
from gateway.upstream.credentials.aws.credential_chain import build_credential_chain
from gateway.upstream.credentials.aws.signature_v4 import (
    SigningScope,
    build_authorization,
    build_canonical_request,
    derive_signing_key,
    format_timestamp,
)
from gateway.upstream.credentials.aws.token_service import TokenService
from gateway.upstream.credentials.identity_request import send_identity_request
from gateway.upstream.credentials.refreshing_credential import RefreshingCredential
from gateway.upstream.credentials.request_signer import (
    CredentialError,
    CredentialStatus,
    RequestSigner,
)

_THREAD_BYTES = 1_000_000
"""Bytes of a body from which a thread hashes it: 1 MB takes about 1 ms."""


class AwsRequestSigner:
    """Signs for one service in one region; see RequestSigner."""

    def __init__(
        self,
        credential: RefreshingCredential[AwsCredential],
        *,
        service: str,
        region: str,
        wall: Callable[[], float],
    ) -> None:
        """Take a credential, and a clock in seconds since the epoch."""
        self._credential = credential
        self._service = service
        self._region = region
        self._wall = wall
        self._signing_key: tuple[str, str, bytes] = "", "", b""

    async def sign(self, method: str, url: httpx.URL, body: bytes | None) -> list[tuple[str, str]]:
        """Return the headers that sign a request; see RequestSigner.

        The signature covers the host, the path, the query, the time and the body. It is checked
        when a request arrives: a credential that ends while an answer streams does no harm.
        """
        if body is None:
            raise CredentialError(
                "A signature of AWS covers the whole body, and this body is sent in pieces: "
                "send it with a content-length."
            )
        credential = (await self._credential.get()).value
        if len(body) < _THREAD_BYTES:
            body_hash = hashlib.sha256(body).hexdigest()
        else:
            body_hash = (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()
        scope = SigningScope(
            timestamp=format_timestamp(self._wall()), region=self._region, service=self._service
        )
        headers = [("x-amz-date", scope.timestamp)]
        if credential.session_token is not None:
            headers.append(("x-amz-security-token", credential.session_token))
        canonical_request = build_canonical_request(
            method, url.raw_path, [("host", url.netloc.decode()), *headers], body_hash
        )
        authorization = build_authorization(
            credential.access_key_id,
            self._get_signing_key(credential.secret_access_key, scope),
            scope,
            canonical_request,
        )
        return [*headers, ("authorization", authorization)]

    async def fetch_status(self) -> CredentialStatus:
        """Return the status of the credential; see RequestSigner."""
        return (await self._credential.get()).status

    async def close(self) -> None:
        """End a refresh that runs."""
        await self._credential.close()

    def _get_signing_key(self, secret_access_key: str, scope: SigningScope) -> bytes:
        """Return the key of a day; deriving it takes four of the five HMACs of a signature."""
        secret, day, key = self._signing_key
        if secret != secret_access_key or day != scope.day:
            key = derive_signing_key(secret_access_key, scope)
            self._signing_key = secret_access_key, scope.day, key
        return key


def make_aws_signer(
    auth: AwsAuth,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    jitter: Callable[[], float],
    *,
    send: SendRequest = send_identity_request,
) -> RequestSigner:
    """Return a signer, which gets its credential at the first request.

    `wall` returns seconds since the epoch, `jitter` random numbers of 0 to 1.
    """
    token_service = TokenService(
        send, region=auth.region, proxy=auth.proxy, environ=environ, wall=wall
    )
    fetch = build_credential_chain(
        auth, environ=environ, token_service=token_service, send=send, wall=wall
    )
    return AwsRequestSigner(
        RefreshingCredential(fetch, wall=wall, jitter=jitter),
        service=auth.service,
        region=auth.region,
        wall=wall,
    )
