"""Access tokens of Entra ID, for Azure's services.

The sources are those of Microsoft's DefaultAzureCredential that a server has, in its order: a
client secret in the environment, workload identity, managed identity. The first that is configured
decides. If it fails, the gateway does not go on as somebody else.

This is own code. Microsoft's library (azure-identity 1.27) installs 21 MB: msal, requests, urllib3
and cryptography. What the gateway needs of it are three requests with documented answers:

- https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
- https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
- https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx

from gateway.core.cloud_auth import AzureAuth
from gateway.upstream.credentials.bearer_signer import (
    BearerSigner,
    Headers,
    issue_token,
    read_seconds,
)
from gateway.upstream.credentials.identity_request import (
    PROBE_SECONDS,
    IdentityRequestError,
    IdentityResponse,
    send_identity_request,
)
from gateway.upstream.credentials.refreshing_credential import IssuedCredential
from gateway.upstream.credentials.request_signer import CredentialError, RequestSigner

_AUTHORITY = "https://login.microsoftonline.com"
_METADATA = "http://169.254.169.254"
_METADATA_PATH = "/metadata/identity/oauth2/token"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_ASSERTION_BYTES = 100_000


def make_azure_signer(
    auth: AzureAuth,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    jitter: Callable[[], float],
) -> RequestSigner:
    """Return a signer with access tokens of Entra ID.

    `wall` returns seconds since the epoch, `jitter` random numbers of 0 to 1.
    """
    source = _AzureSource(auth, environ, wall)
    return BearerSigner(source.fetch, wall=wall, jitter=jitter)


class _NotConfiguredError(Exception):
    """A source gives no token, and the next one may. The message tells what it lacks."""


class _AzureSource:
    """Gets access tokens from the first source that is configured."""

    def __init__(
        self, auth: AzureAuth, environ: Mapping[str, str], wall: Callable[[], float]
    ) -> None:
        self._auth = auth
        self._environ = environ
        self._wall = wall

    async def fetch(self) -> IssuedCredential[Headers]:
        """Get an access token. Raises CredentialError."""
        sources: tuple[Callable[[], Awaitable[IssuedCredential[Headers]]], ...] = (
            self._fetch_by_secret,
            self._fetch_by_workload_identity,
            self._fetch_by_managed_identity,
        )
        reasons = []
        for source in sources:
            try:
                return await source()
            except _NotConfiguredError as reason:
                reasons.append(str(reason))
        raise CredentialError(f"Azure gives this machine no credential. {' '.join(reasons)}")

    async def _fetch_by_secret(self) -> IssuedCredential[Headers]:
        tenant, client, secret = self._require("client secret", "AZURE_CLIENT_SECRET")
        return await self._ask_entra("client secret", tenant, client, {"client_secret": secret})

    async def _fetch_by_workload_identity(self) -> IssuedCredential[Headers]:
        name = "workload identity"
        tenant, client, path = self._require(name, "AZURE_FEDERATED_TOKEN_FILE")
        try:  # each time: Kubernetes writes a new token before the old one ends
            assertion = await asyncio.to_thread(_read_assertion, path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a token"
            raise CredentialError(
                f"Azure, {name}: AZURE_FEDERATED_TOKEN_FILE ({path}) cannot be read: {reason}."
            ) from None
        fields = {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
        return await self._ask_entra(name, tenant, client, fields)

    async def _fetch_by_managed_identity(self) -> IssuedCredential[Headers]:
        query = {"resource": self._auth.scope.removesuffix("/.default")}
        if client := self._client:
            query["client_id"] = client
        endpoint, secret = self._get("IDENTITY_ENDPOINT"), self._get("IDENTITY_HEADER")
        probe_url = ""
        if endpoint and secret:
            name = "managed identity (IDENTITY_ENDPOINT)"
            query["api-version"] = "2019-08-01"
            url, headers = f"{endpoint}?{urlencode(query)}", {"x-identity-header": secret}
        else:
            name = "managed identity (IMDS)"
            query["api-version"] = "2018-02-01"
            host = (self._get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _METADATA).rstrip("/")
            probe_url = f"{host}{_METADATA_PATH}"
            url, headers = f"{probe_url}?{urlencode(query)}", {"metadata": "true"}
        try:
            if probe_url:  # IMDS refuses it at once; where there is none, nothing answers
                await send_identity_request("GET", probe_url, headers={}, seconds=PROBE_SECONDS)
            response = await send_identity_request("GET", url, headers=headers)
        except IdentityRequestError as error:
            raise _NotConfiguredError(f"{name}: {error}.") from None
        if response.status != httpx.codes.OK:
            raise _NotConfiguredError(f"{name}: {response.describe()}.")
        return self._read_token(name, None, response)

    def _require(self, name: str, variable: str) -> tuple[str, str, str]:
        """Return the tenant, the client and a variable. Raises _NotConfiguredError."""
        values = {
            "AZURE_TENANT_ID": self._auth.tenant or self._get("AZURE_TENANT_ID"),
            "AZURE_CLIENT_ID": self._client,
            variable: self._get(variable),
        }
        if missing := [key for key, value in values.items() if not value]:
            verb = "is" if len(missing) == 1 else "are"
            text = f"{name}: {', '.join(missing)} {verb} not set."
            if variable == "AZURE_CLIENT_SECRET" and self._get("AZURE_CLIENT_CERTIFICATE_PATH"):
                text += " The gateway does not use AZURE_CLIENT_CERTIFICATE_PATH."
            raise _NotConfiguredError(text)
        tenant, client, value = values.values()
        return tenant, client, value

    async def _ask_entra(
        self, name: str, tenant: str, client: str, fields: Mapping[str, str]
    ) -> IssuedCredential[Headers]:
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "scope": self._auth.scope,
            **fields,
        }
        try:
            response = await send_identity_request(
                "POST",
                f"{self._get_authority()}/{quote(tenant, safe='')}/oauth2/v2.0/token",
                headers={"content-type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode("ascii"),
                proxy=self._auth.proxy,
            )
        except IdentityRequestError as error:
            raise CredentialError(f"Azure, {name}: {error}.") from None
        if response.status != httpx.codes.OK:
            raise CredentialError(f"Azure, {name}: {response.describe()}.")
        return self._read_token(name, client, response)

    def _read_token(
        self, name: str, client: str | None, response: IdentityResponse
    ) -> IssuedCredential[Headers]:
        """Read the token of Entra ID or of a managed identity. Raises CredentialError."""
        value, now = response.read_object(), self._wall()
        # Managed identities write both as text, and App Service has `expires_on` alone.
        life, end = read_seconds(value.get("expires_in")), read_seconds(value.get("expires_on"))
        return issue_token(
            value.get("access_token"),
            source=f"Azure, {name}",
            identity=client or value.get("client_id"),
            expires_at=end if life is None else now + life,
            now=now,
        )

    def _get(self, variable: str) -> str:
        return self._environ.get(variable, "")

    @property
    def _client(self) -> str:
        return self._auth.client or self._get("AZURE_CLIENT_ID")

    def _get_authority(self) -> str:
        """Return the URL of Entra ID in this cloud, such as China's. Raises CredentialError."""
        authority = (self._get("AZURE_AUTHORITY_HOST") or _AUTHORITY).rstrip("/")
        if "://" not in authority:
            authority = f"https://{authority}"
        if not authority.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise CredentialError("Azure: AZURE_AUTHORITY_HOST must start with https://.")
        return authority


def _read_assertion(path: str) -> str:
    """Return the token in a file. Raises OSError or ValueError."""
    with Path(path).open("rb") as file:
        data = file.read(_MAX_ASSERTION_BYTES + 1)
    assertion = data.decode("ascii").strip()
    if not assertion or len(data) > _MAX_ASSERTION_BYTES:
        raise ValueError
    return assertion
