"""The cloud identity of providers: its values, and settings of it that contradict each other."""

from collections.abc import Collection, Iterator
from typing import get_args

from gateway.core.cloud_auth import AwsAuth, AzureAuth, CloudAuth, CloudName, GoogleAuth
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import ProviderPart

_CLOUDS: tuple[CloudName, ...] = get_args(CloudName.__value__)
KEYLESS_AUTHS = frozenset({"none", *_CLOUDS})
"""The values of `auth` with which a provider needs no account."""


def build_cloud_auth(provider_part: ProviderPart) -> CloudAuth | None:
    """Return how a provider takes the gateway's own identity; None if it takes keys."""
    proxy = provider_part.proxy or None
    match provider_part.auth:
        case "aws":
            return AwsAuth(**provider_part.aws.model_dump(), proxy=proxy)
        case "google":
            return GoogleAuth(**provider_part.google.model_dump(), proxy=proxy)
        case "azure":
            return AzureAuth(**provider_part.azure.model_dump(), proxy=proxy)
        case _:
            return None


def find_cloud_errors(source: ConfigSource) -> Iterator[Mistake]:
    """Yield an error for each cloud whose settings a provider has without its `auth`."""
    for name, provider_part in source.config.providers.items():
        for cloud in _CLOUDS:
            is_set = cloud in provider_part.model_fields_set
            if is_set and provider_part.auth in _CLOUDS and provider_part.auth != cloud:
                message = f"has no effect with `auth: {provider_part.auth}`."
                yield source.make_mistake(("providers", name, cloud), message, "Remove it.")


def find_cloud_warnings(
    source: ConfigSource, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    """Yield a warning for each key that a provider has beside a cloud's identity."""
    for name, provider_part in source.config.providers.items():
        if provider_part.auth not in _CLOUDS or name in disabled_providers:
            continue
        for account, secret in provider_part.accounts.items():
            if secret.strip():
                path = ("providers", name, "accounts", account)
                message = f"is not sent: `auth: {provider_part.auth}` takes no keys."
                yield source.make_mistake(path, message, "Unset it, or the `auth`.", warn=True)
