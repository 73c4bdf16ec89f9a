"""Settings of providers in clouds that take the gateway's own identity in place of a key."""

from typing import Literal

from pydantic import BaseModel

from gateway.settings.schema.base import STRICT_CONFIG, Word

type AuthSetting = Literal[
    "bearer", "x-api-key", "api-key", "x-goog-api-key", "none", "aws", "google", "azure"
]


class AwsAuthPart(BaseModel):
    """Settings of `auth: aws`: the gateway signs requests with the credential of this machine."""

    model_config = STRICT_CONFIG

    service: Word = "bedrock"
    """The name of the service in signatures."""
    region: Word = "us-east-1"
    """The region of the endpoint, which signatures name too."""
    profile: Word | None = None
    """The profile of AWS's own files; unset, it is AWS_PROFILE, else `default`."""
    role: Word | None = None
    """The ARN of a role that the gateway assumes with its credential."""


class GoogleAuthPart(BaseModel):
    """Settings of `auth: google`: requests have an access token of Google Cloud."""

    model_config = STRICT_CONFIG

    file: str | None = None
    """The file of a credential. Unset, the application default credentials of this machine
    apply."""


class AzureAuthPart(BaseModel):
    """Settings of `auth: azure`: requests have an access token of Entra ID."""

    model_config = STRICT_CONFIG

    scope: str = "https://ai.azure.com/.default"
    """The scope of the token, which names the service."""
    tenant: Word | None = None
    """The id of the tenant; unset, it is AZURE_TENANT_ID."""
    client: Word | None = None
    """The id of the application or of the managed identity; unset, it is AZURE_CLIENT_ID."""
