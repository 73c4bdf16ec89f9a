"""Warnings about credentials that look like placeholders: short words, examples."""

import ipaddress
import re
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from gateway.settings.cloud_auth import KEYLESS_AUTHS
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import ProviderPart

MIN_KEY_CHARS = 16
"""The length of the shortest key that any provider issues."""
_PLACEHOLDER_PATTERN = re.compile(r"your.*key|change.?me|placeholder|^<.*>$|x{8}", re.IGNORECASE)
"""Matches example texts that stand in place of a key."""
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Ends of host names in one's own network."""


def find_placeholders(
    source: ConfigSource, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    """Yield warnings about accounts at remote hosts whose credential looks like a placeholder.

    Such a host answers 401. The gateway passes its errors on without masking so short a credential.
    """
    for name, provider_part in source.config.providers.items():
        if (
            name in disabled_providers
            or provider_part.auth in KEYLESS_AUTHS
            or provider_part.optional_key
            or not _is_remote(provider_part)
        ):
            continue
        for account, secret in provider_part.accounts.items():
            key = secret.strip()
            is_short = len(key) < MIN_KEY_CHARS
            if key and (is_short or _PLACEHOLDER_PATTERN.search(key)):
                reason = (
                    f"it has fewer than {MIN_KEY_CHARS} characters"
                    if is_short
                    else "it is an example's"
                )
                message = f"looks like a placeholder and no key: {reason}."
                hint = "Put the provider's own key there; leave it empty to turn the provider off."
                path = ("providers", name, "accounts", account)
                yield source.make_mistake(path, message, hint, warn=True)


def _is_remote(provider_part: ProviderPart) -> bool:
    """Return True if a provider is at somebody else's host."""
    if provider_part.command:
        return False
    urls = (provider_part.path_prefix, *provider_part.replicas, *provider_part.dialects.values())
    return any(_is_public_url(url) for url in urls if "://" in url)


def _is_public_url(url: str) -> bool:
    """Return True if a URL leads beyond this machine and its network, judged by its host."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_LOCAL_SUFFIXES)
