"""The discovery document of an identity provider.

Source: OpenID Connect Discovery 1.0, section 4.
"""

from typing import Any

from gateway.core import jsonio
from gateway.upstream.fetch_document import FetchDocument


async def read_discovery(issuer: str, fetch: FetchDocument) -> dict[str, Any]:
    """Return the document of an issuer. Raises OSError and ValueError."""
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    document = parse_object(await fetch(url))
    if document.get("issuer") != issuer:  # section 4.3
        raise ValueError(f"{url} is the document of another issuer")
    return document


def get_endpoint(document: dict[str, Any], name: str) -> str:
    """Return an endpoint that a discovery document names. Raises ValueError."""
    url = document.get(name)
    if not isinstance(url, str):
        raise ValueError(f"the discovery document has no {name}")  # noqa: TRY004 - one error for bad ones
    return url


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a document. Raises ValueError."""
    value = jsonio.loads(data)
    if not isinstance(value, dict):
        raise ValueError("the document is not a JSON object")  # noqa: TRY004 - as above
    return value
