"""Find a credential of AWS: ask the first source that something points to.

The order is that of AWS's SDKs: environment, web identity, profile, container, instance metadata.
A source that is configured and fails ends the search: another one may be another identity.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from gateway.core.cloud_auth import AwsAuth
from gateway.upstream.credentials.aws.ask_service import SendRequest
from gateway.upstream.credentials.aws.aws_credential import (
    IssuedAwsCredential,
    SourceNotConfiguredError,
)
from gateway.upstream.credentials.aws.container import fetch_container_role
from gateway.upstream.credentials.aws.environment import read_environment
from gateway.upstream.credentials.aws.instance_metadata import fetch_instance_role
from gateway.upstream.credentials.aws.profile import FetchAwsCredential, ProfileSource
from gateway.upstream.credentials.aws.token_service import DEFAULT_SESSION_NAME, TokenService
from gateway.upstream.credentials.aws.web_identity import fetch_environment_role
from gateway.upstream.credentials.request_signer import CredentialError


class CredentialSource(msgspec.Struct, frozen=True):
    """A source of the chain."""

    name: str
    fetch: FetchAwsCredential


def build_credential_chain(
    auth: AwsAuth,
    *,
    environ: Mapping[str, str],
    token_service: TokenService,
    send: SendRequest,
    wall: Callable[[], float],
) -> FetchAwsCredential:
    """Return a function that gets the credential of an `AwsAuth`.

    A profile in `auth` is the only source; else all are asked in their order.
    """

    async def fetch_environment() -> IssuedAwsCredential:
        return read_environment(environ)

    fetch_container = partial(fetch_container_role, environ, send)
    fetch_instance = partial(fetch_instance_role, environ, send, wall)
    profile = ProfileSource(
        auth.profile,
        environ,
        token_service,
        {
            "Environment": fetch_environment,
            "EcsContainer": fetch_container,
            "Ec2InstanceMetadata": fetch_instance,
        },
    )
    sources = [CredentialSource("profile", profile.fetch)]
    if auth.profile is None:
        sources = [
            CredentialSource("environment", fetch_environment),
            CredentialSource(
                "web identity", partial(fetch_environment_role, environ, token_service)
            ),
            *sources,
            CredentialSource("container", fetch_container),
            CredentialSource("instance metadata", fetch_instance),
        ]

    async def fetch() -> IssuedAwsCredential:
        issued = await _fetch_first(sources)
        if auth.role is None:
            return issued
        return await token_service.assume_role(
            f"{issued.status.source}, then {auth.role}",
            issued.value,
            auth.role,
            session_name=environ.get("AWS_ROLE_SESSION_NAME") or DEFAULT_SESSION_NAME,
        )

    return fetch


async def _fetch_first(sources: Sequence[CredentialSource]) -> IssuedAwsCredential:
    """Return the credential of the first source that has one.

    Raises CredentialError, which says what each source lacked.
    """
    reasons: list[str] = []
    for source in sources:
        try:
            return await source.fetch()
        except CredentialError as error:
            reasons.append(f"{source.name}: {error}")
            if isinstance(error, SourceNotConfiguredError):
                continue
            break
    raise CredentialError(f"AWS gives this machine no credential: {'; '.join(reasons)}.")
