"""A profile of AWS's own files: a key, a role, web identity, or a program."""

from collections.abc import Awaitable, Callable, Mapping

from gateway.upstream.credentials.aws.aws_credential import (
    IssuedAwsCredential,
    SourceNotConfiguredError,
    issue_credential,
)
from gateway.upstream.credentials.aws.credential_process import run_credential_process
from gateway.upstream.credentials.aws.shared_files import Profile, SharedFiles, read_shared_files
from gateway.upstream.credentials.aws.token_service import DEFAULT_SESSION_NAME, TokenService
from gateway.upstream.credentials.aws.web_identity import read_token
from gateway.upstream.credentials.request_signer import CredentialError

type FetchAwsCredential = Callable[[], Awaitable[IssuedAwsCredential]]
"""Gets a credential of one source. Raises CredentialError, or its SourceNotConfiguredError."""

_KEY_SETTINGS = ("aws_access_key_id", "aws_secret_access_key")
_SIGN_IN_SETTINGS = ("sso_session", "sso_start_url", "login_session")


class ProfileSource:
    """Reads the files anew for each credential, so that a change needs no restart."""

    def __init__(
        self,
        name: str | None,
        environ: Mapping[str, str],
        token_service: TokenService,
        credential_sources: Mapping[str, FetchAwsCredential],
    ) -> None:
        """Take a profile's name; None takes AWS_PROFILE, else `default`.

        `credential_sources` has what a profile may name as its `credential_source`.
        """
        self._name = name
        self._environ = environ
        self._token_service = token_service
        self._credential_sources = credential_sources

    async def fetch(self) -> IssuedAwsCredential:
        """Return the profile's credential. Raises CredentialError."""
        name = self._name or self._environ.get("AWS_PROFILE") or None
        files = await read_shared_files(self._environ)
        if name is not None and name not in files.profiles:
            raise CredentialError(_describe_missing(name, files))
        return await self._fetch_profile(name or "default", files, ())

    async def _fetch_profile(
        self, name: str, files: SharedFiles, visited: tuple[str, ...]
    ) -> IssuedAwsCredential:
        """Return the credential of a profile; `visited` are the profiles that led to it."""
        if name not in files.profiles:
            raise SourceNotConfiguredError(_describe_missing(name, files))
        if name in visited:
            raise CredentialError(
                f"source_profile goes round in a circle: {' -> '.join((*visited, name))}"
            )
        profile = files.profiles[name]
        source = f"profile `{name}`"
        has_key = any(setting in profile for setting in _KEY_SETTINGS)
        if "web_identity_token_file" in profile:
            return await self._assume_with_token(source, profile)
        if "role_arn" in profile and not (has_key and visited):  # botocore: a source has its key
            return await self._assume_role(name, files, visited)
        if any(setting in profile for setting in _SIGN_IN_SETTINGS):
            raise CredentialError(
                f"the {source} needs a person to sign in: make a second profile for the gateway, "
                f"with `credential_process = aws configure export-credentials --profile {name}`"
            )
        if has_key:
            return _read_key(source, profile)
        if command := profile.get("credential_process"):
            return await run_credential_process(
                f"AWS, {source} (credential_process)", command, self._environ
            )
        raise SourceNotConfiguredError(f"the {source} has no setting of a credential")

    async def _assume_with_token(self, source: str, profile: Profile) -> IssuedAwsCredential:
        if not (role_arn := profile.get("role_arn")):
            raise CredentialError(f"the {source} has web_identity_token_file and no role_arn")
        return await self._token_service.assume_role_with_web_identity(
            f"AWS, {source} (web identity)",
            role_arn,
            await read_token(profile["web_identity_token_file"], self._environ),
            session_name=profile.get("role_session_name") or DEFAULT_SESSION_NAME,
            duration_seconds=profile.get("duration_seconds"),
        )

    async def _assume_role(
        self, name: str, files: SharedFiles, visited: tuple[str, ...]
    ) -> IssuedAwsCredential:
        source, profile = f"profile `{name}`", files.profiles[name]
        if "mfa_serial" in profile:
            raise CredentialError(f"the {source} has mfa_serial: the gateway cannot ask for a code")
        match profile.get("source_profile"), profile.get("credential_source"):
            case str(source_profile), None if source_profile == name:
                issued = _read_key(source, profile)  # its own key, for its own role
            case str(source_profile), None:
                issued = await _require(
                    source, self._fetch_profile(source_profile, files, (*visited, name))
                )
            case None, str(credential_source):
                issued = await _require(source, self._fetch_source(source, credential_source))
            case _:
                raise CredentialError(
                    f"the {source} has role_arn, and needs source_profile or credential_source"
                )
        return await self._token_service.assume_role(
            f"AWS, {source} (role)",
            issued.value,
            profile["role_arn"],
            session_name=profile.get("role_session_name") or DEFAULT_SESSION_NAME,
            external_id=profile.get("external_id"),
            duration_seconds=profile.get("duration_seconds"),
        )

    async def _fetch_source(self, source: str, credential_source: str) -> IssuedAwsCredential:
        fetch = self._credential_sources.get(credential_source)
        if fetch is None:
            raise CredentialError(
                f"the {source} has the credential_source {credential_source}; there are "
                f"{', '.join(self._credential_sources)}"
            )
        return await fetch()


async def _require(source: str, fetch: Awaitable[IssuedAwsCredential]) -> IssuedAwsCredential:
    """Return a credential that a profile needs: the profile itself is configured."""
    try:
        return await fetch
    except SourceNotConfiguredError as error:
        raise CredentialError(f"the {source} needs another credential: {error}") from None


def _describe_missing(name: str, files: SharedFiles) -> str:
    return f"{' and '.join(files.paths)} have no profile `{name}`"


def _read_key(source: str, profile: Profile) -> IssuedAwsCredential:
    for setting in _KEY_SETTINGS:
        if not profile.get(setting):
            raise CredentialError(f"the {source} has no {setting}")
    return issue_credential(
        f"AWS, {source}",
        access_key_id=profile["aws_access_key_id"],
        secret_access_key=profile["aws_secret_access_key"],
        session_token=profile.get("aws_session_token"),
    )
