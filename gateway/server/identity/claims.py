"""Claims of tokens: what an identity provider says of a person or a machine."""

from collections.abc import Iterator
from typing import Any

type Claims = dict[str, Any]


def iter_claim_values(claims: Claims, path: str) -> Iterator[str]:
    """Yield the texts of a claim; dots in its path lead into objects, as in realm_access.roles."""
    value: Any = claims
    if path in claims:
        value = claims[path]
    else:
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, str):
            yield item
