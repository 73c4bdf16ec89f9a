"""Access tokens from Google's credential files, by Google's own library (the extra `google`).

It reads keys of service accounts, gcloud's files of people, workload identity federation (a file, a
URL, AWS, an executable if GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is 1) and impersonation. The
library is synchronous: it runs in a thread, and its requests run in the loop.

The library's own search for credentials is not used. It reads os.environ, imports `requests`, and
asks for a project that no request of the gateway needs.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
from google.auth import (
    aws,
    exceptions,
    external_account_authorized_user,
    identity_pool,
    impersonated_credentials,
    pluggable,
    transport,
)
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

from gateway.core import jsonio
from gateway.upstream.credentials.identity_request import (
    IdentityRequestError,
    IdentityResponse,
    send_identity_request,
)
from gateway.upstream.credentials.request_signer import CredentialError

_AWS_TOKEN_TYPE = "urn:ietf:params:aws:token-type:aws4_request"  # noqa: S105 - the name of a type


class GoogleToken(msgspec.Struct, frozen=True, kw_only=True):
    """An access token of a credential file."""

    value: object
    identity: str | None
    expires_at: float | None
    """When it ends, in seconds since the epoch, by the clock of the machine."""
    quota_project: str | None
    """The project that pays for the requests, if the file names one."""

    def __repr__(self) -> str:
        return f"GoogleToken({self.identity!r}, {self.expires_at!r})"


async def fetch_file_token(
    path: str, scope: str, *, source: str, environ: Mapping[str, str], proxy: str | None
) -> GoogleToken:
    """Return an access token by the credential in a file.

    The file is read each time, as people replace keys. `source` begins each message of the
    CredentialError that this function raises.
    """
    request = _LoopRequest(asyncio.get_running_loop(), proxy)
    try:
        return await asyncio.to_thread(_fetch_token, path, scope, source, environ, request)
    finally:
        request.close()


def _fetch_token(
    path: str, scope: str, source: str, environ: Mapping[str, str], request: "_LoopRequest"
) -> GoogleToken:
    info = _read_file(path, source)
    try:
        credentials = _make_credentials(info, [scope], environ)
        credentials.refresh(request)
    except Exception as error:  # noqa: BLE001 - a file with a wrong value makes it raise anything
        # The library's messages quote answers, and may have tokens in them.
        reason = request.problem or _describe_fault(info, error)
        raise CredentialError(f"{source}: {reason}.") from None
    expiry = credentials.expiry  # in UTC, without saying so
    return GoogleToken(
        value=credentials.token,
        identity=getattr(credentials, "service_account_email", None),
        expires_at=None if expiry is None else expiry.replace(tzinfo=UTC).timestamp(),
        quota_project=getattr(credentials, "quota_project_id", None),
    )


def _read_file(path: str, source: str) -> dict[str, Any]:
    """Return a credential file. Raises CredentialError."""
    try:
        info = jsonio.loads(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise CredentialError(f"{source}: the file cannot be read: {error.strerror}.") from None
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise CredentialError(f"{source}: the file is not a JSON object.")
    return info


def _make_credentials(info: dict[str, Any], scopes: list[str], environ: Mapping[str, str]) -> Any:
    """Return the library's object for a credential file."""
    match info.get("type"):
        case "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=scopes)
        case "authorized_user":
            return user_credentials.Credentials.from_authorized_user_info(info)
        case "impersonated_service_account":
            impersonated = impersonated_credentials.Credentials
            return impersonated.from_impersonated_service_account_info(info, scopes=scopes)
        case "external_account_authorized_user":
            return external_account_authorized_user.Credentials.from_info(info)
        case "external_account":
            return _make_external_credentials(info, scopes, environ)
        case type:
            raise _UnknownTypeError(str(type))


class _UnknownTypeError(ValueError):
    """The gateway does not know this type of file."""


def _make_external_credentials(
    info: dict[str, Any], scopes: list[str], environ: Mapping[str, str]
) -> Any:
    """Return the library's object for workload identity federation."""
    source = info.get("credential_source") or {}
    if info.get("subject_token_type") == _AWS_TOKEN_TYPE:
        supplier = _AwsEnvironment(environ)
        if supplier.is_complete:
            info = {key: value for key, value in info.items() if key != "credential_source"}
            info["aws_security_credentials_supplier"] = supplier
        return aws.Credentials.from_info(info, scopes=scopes)
    if "executable" in source:
        return pluggable.Credentials.from_info(info, scopes=scopes)
    return identity_pool.Credentials.from_info(info, scopes=scopes)


class _AwsEnvironment(aws.AwsSecurityCredentialsSupplier):
    """AWS's own variables. The library reads os.environ alone, and the gateway also a .env file."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._id = environ.get("AWS_ACCESS_KEY_ID", "")
        self._secret = environ.get("AWS_SECRET_ACCESS_KEY", "")
        self._token = environ.get("AWS_SESSION_TOKEN") or None
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", "")

    @property
    def is_complete(self) -> bool:
        """True if the variables give a credential and a region."""
        return bool(self._id and self._secret and self._region)

    def get_aws_security_credentials(
        self, context: object, request: object
    ) -> aws.AwsSecurityCredentials:
        del context, request
        return aws.AwsSecurityCredentials(self._id, self._secret, self._token)

    def get_aws_region(self, context: object, request: object) -> str:
        del context, request
        return self._region


class _LibraryResponse(transport.Response):
    """An answer in the form that the library reads."""

    def __init__(self, response: IdentityResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def data(self) -> bytes:
        return self._response.body


class _LoopRequest(transport.Request):
    """Sends the requests of the library, which runs in a thread, in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: str | None) -> None:
        self._loop = loop
        self._proxy = proxy
        self._is_closed = False
        self._future: Future[IdentityResponse] | None = None
        self.problem: str | None = None
        """Why the last request failed, if it did."""

    def close(self) -> None:
        """End the request that runs and refuse others, so that the thread of this request ends."""
        self._is_closed = True
        if self._future is not None:
            self._future.cancel()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **options: object,
    ) -> _LibraryResponse:
        """Send a request. Raises TransportError; `timeout` is the gateway's own."""
        del timeout
        if self._is_closed:
            raise exceptions.TransportError("the caller has left")
        if options.get("cert"):  # workload identity federation by an X.509 certificate
            self.problem = "the gateway does not use the certificate that the file names"
            raise exceptions.TransportError(self.problem)
        request = send_identity_request(
            method, url, headers=headers or {}, body=body, proxy=self._proxy
        )
        self._future = asyncio.run_coroutine_threadsafe(request, self._loop)
        try:
            response = self._future.result()
        except IdentityRequestError as error:
            self.problem = str(error)
            raise exceptions.TransportError(self.problem) from None
        self.problem = None if response.status < 300 else response.describe()
        return _LibraryResponse(response)


def _describe_fault(info: Mapping[str, Any], error: Exception) -> str:
    """Describe a fault that is not in an answer, without the library's words."""
    source = info.get("credential_source")
    if isinstance(error, _UnknownTypeError):
        return f"the file has the type {error}, which the gateway does not know"
    if isinstance(source, dict) and "executable" in source:
        return (
            "its executable gave no token. It runs only if "
            "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is 1"
        )
    if isinstance(error, exceptions.RefreshError) and isinstance(source, dict) and "file" in source:
        return f"the file of its token, {source['file']}, does not give one"
    return f"the file does not give a token ({type(error).__name__})"
