"""Settings of providers that take the gateway's own identity in a cloud in place of a key."""

from typing import Literal

import msgspec

type CloudName = Literal["aws", "google", "azure"]


class AwsAuth(msgspec.Struct, frozen=True, kw_only=True, tag="aws"):
    """Requests are signed with the credential that AWS gives to this machine (SigV4)."""

    service: str
    """The service that the signature names, such as `bedrock`."""
    region: str
    profile: str | None = None
    """The profile of AWS's own files; None takes AWS_PROFILE, else `default`."""
    role: str | None = None
    """The ARN of a role that the gateway assumes with that credential."""
    proxy: str | None = None
    """The proxy to AWS's token service; metadata addresses are asked without one."""


class GoogleAuth(msgspec.Struct, frozen=True, kw_only=True, tag="google"):
    """Requests have an access token of Google Cloud."""

    file: str | None = None
    """The file of a credential; None takes the application default credentials."""
    proxy: str | None = None


class AzureAuth(msgspec.Struct, frozen=True, kw_only=True, tag="azure"):
    """Requests have an access token of Entra ID."""

    scope: str
    """The scope of the token, such as `https://ai.azure.com/.default`."""
    tenant: str | None = None
    client: str | None = None
    """The id of an application, or of a managed identity that the machine has beside others."""
    proxy: str | None = None


type CloudAuth = AwsAuth | GoogleAuth | AzureAuth
