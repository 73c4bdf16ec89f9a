"""Access tokens of Google Cloud, from the application default credentials.

The sources are those of Google's libraries, in their order (cloud.google.com/docs/authentication/
application-default-credentials): the file in the configuration, GOOGLE_APPLICATION_CREDENTIALS,
gcloud's own file, the metadata server. The first that is there decides. If it fails, the gateway
does not go on as somebody else.

Files need the extra `google`: google-auth 2.63 installs 19 MB, of which 15 MB are cryptography. The
extra `oidc` brings that too. Own code asks the metadata server: the library's needs `requests`, and
waits three times 3 s for a server that is not there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from gateway.core.cloud_auth import GoogleAuth
from gateway.upstream.credentials.bearer_signer import (
    BearerSigner,
    Headers,
    issue_token,
    read_seconds,
)
from gateway.upstream.credentials.identity_request import (
    ANSWER_SECONDS,
    PROBE_SECONDS,
    IdentityRequestError,
    IdentityResponse,
    send_identity_request,
)
from gateway.upstream.credentials.refreshing_credential import IssuedCredential
from gateway.upstream.credentials.request_signer import CredentialError, RequestSigner

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_METADATA_HOST = "169.254.169.254"
"""The metadata server's address: to look up its name can take long where there is none."""
_ACCOUNT_PATH = "/computeMetadata/v1/instance/service-accounts/default"
_FLAVOR = "Google"


def make_google_signer(
    auth: GoogleAuth,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    jitter: Callable[[], float],
) -> RequestSigner:
    """Return a signer with access tokens of Google Cloud.

    `wall` returns seconds since the epoch, `jitter` random numbers of 0 to 1.
    """
    source = _GoogleSource(auth, environ, wall)
    return BearerSigner(source.fetch, wall=wall, jitter=jitter)


class _GoogleSource:
    """Gets access tokens from the first source that is there."""

    def __init__(
        self, auth: GoogleAuth, environ: Mapping[str, str], wall: Callable[[], float]
    ) -> None:
        self._auth = auth
        self._environ = environ
        self._wall = wall

    async def fetch(self) -> IssuedCredential[Headers]:
        """Get an access token. Raises CredentialError."""
        if self._auth.file:
            return await self._fetch_by_file(f"Google Cloud, {self._auth.file}", self._auth.file)
        if path := self._environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            return await self._fetch_by_file(
                f"Google Cloud, GOOGLE_APPLICATION_CREDENTIALS ({path})", path
            )
        path = self._get_gcloud_path()
        if _is_file(path):
            return await self._fetch_by_file(f"Google Cloud, gcloud ({path})", path)
        reasons = f"GOOGLE_APPLICATION_CREDENTIALS is not set, gcloud's {path} is not there"
        if self._environ.get("NO_GCE_CHECK") == "true":
            raise CredentialError(
                f"Google Cloud gives this machine no credential: {reasons}, "
                "and NO_GCE_CHECK forbids to ask the metadata server."
            )
        try:
            return await self._fetch_by_metadata()
        except IdentityRequestError as error:
            raise CredentialError(
                f"Google Cloud gives this machine no credential: {reasons}, "
                f"and the metadata server gives none: {error}."
            ) from None

    async def _fetch_by_file(self, source: str, path: str) -> IssuedCredential[Headers]:
        try:
            from gateway.upstream.credentials.google_files import (  # noqa: PLC0415 - an extra
                fetch_file_token,
            )
        except ImportError:
            raise CredentialError(
                f"{source}: a credential file needs the extra google: "
                "pip install 'tiergate[google]'."
            ) from None
        token = await fetch_file_token(
            path, _SCOPE, source=source, environ=self._environ, proxy=self._auth.proxy
        )
        return issue_token(
            token.value,
            source=source,
            identity=token.identity,
            expires_at=token.expires_at,
            now=self._wall(),
            headers=self._get_quota_headers(token.quota_project),
        )

    async def _fetch_by_metadata(self) -> IssuedCredential[Headers]:
        """Get a token of the machine's service account.

        Raises IdentityRequestError if it has none, and CredentialError for a wrong answer.
        """
        source = "Google Cloud, metadata server"
        email = await self._fetch_email()
        response = await self._ask_metadata(f"/token?scopes={_SCOPE}")
        if response.status != httpx.codes.OK:
            reason = response.describe()
            if response.status == httpx.codes.NOT_FOUND:
                reason += " (this machine has no service account)"
            raise IdentityRequestError(reason)
        value, now = response.read_object(), self._wall()
        life = read_seconds(value.get("expires_in"))
        return issue_token(
            value.get("access_token"),
            source=source,
            identity=email,
            expires_at=None if life is None else now + life,
            now=now,
            headers=self._get_quota_headers(None),
        )

    async def _fetch_email(self) -> str | None:
        """Return the address of the machine's service account, if the server tells it.

        Raises IdentityRequestError if there is no metadata server.
        """
        response = await self._ask_metadata("/email", PROBE_SECONDS)
        if response.status != httpx.codes.OK:
            return None
        return response.body.decode("utf-8", "replace")

    async def _ask_metadata(self, path: str, seconds: float = ANSWER_SECONDS) -> IdentityResponse:
        """Ask the metadata server. Raises IdentityRequestError if another server answers."""
        host = self._environ.get("GCE_METADATA_HOST") or _METADATA_HOST
        response = await send_identity_request(
            "GET",
            f"http://{host}{_ACCOUNT_PATH}{path}",
            headers={"metadata-flavor": _FLAVOR},
            seconds=seconds,
        )
        if response.headers.get("metadata-flavor") != _FLAVOR:
            raise IdentityRequestError(f"another server answers at {response.host}")
        return response

    def _get_gcloud_path(self) -> str:
        """Return the file that `gcloud auth application-default login` writes."""
        folder = self._environ.get("CLOUDSDK_CONFIG")
        if not folder:
            home = self._environ.get("HOME") or Path.home()
            folder = f"{home}/.config/gcloud"
        return f"{folder}/application_default_credentials.json"

    def _get_quota_headers(self, project: str | None) -> Headers:
        project = self._environ.get("GOOGLE_CLOUD_QUOTA_PROJECT") or project
        return (("x-goog-user-project", project),) if project else ()


def _is_file(path: str) -> bool:
    """Return True if a file is there, and its folder can be read."""
    try:
        return Path(path).is_file()
    except OSError:  # a HOME that belongs to somebody else, as containers have
        return False
