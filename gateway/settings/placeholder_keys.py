"""Credentials that can be none: short words, and what examples have in the place of a key."""

import ipaddress
import re
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import ProviderPart

LEAST = 16
"""Characters of the shortest key that any provider gives out."""
_PLACEHOLDER = re.compile(r"your.*key|change.?me|placeholder|^<.*>$|x{8}", re.IGNORECASE)
"""Words of examples that stand for a key."""
_NEAR = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Ends of names that lead to a machine of one's own network."""


def warnings(source: ConfigSource, off: Collection[str]) -> Iterator[Mistake]:
    """Warn of accounts at remote hosts whose credential looks like a placeholder.

    Such a host answers 401, and its errors are passed on without a mask for so short a credential.
    """
    for name, part in source.config.providers.items():
        if name in off or part.auth == "none" or part.optional_key or not _remote(part):
            continue
        for account, secret in part.accounts.items():
            key = secret.strip()
            short = len(key) < LEAST
            if key and (short or _PLACEHOLDER.search(key)):
                why = f"it has fewer than {LEAST} characters" if short else "it is an example's"
                message = f"looks like a placeholder and no key: {why}."
                hint = "Put the provider's own key there; leave it empty to turn the provider off."
                path = ("providers", name, "accounts", account)
                yield source.mistake(path, message, hint, warn=True)


def _remote(part: ProviderPart) -> bool:
    """True if a provider is at a host of somebody else's."""
    if part.command:
        return False
    urls = [url for url in (part.base_url, *part.dialects.values()) if "://" in url]
    return any(map(_elsewhere, urls))


def _elsewhere(url: str) -> bool:
    """True if a URL leads beyond this machine and its network, as far as its name tells."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_NEAR)
