"""The cache key of a request: equal requests have the same key, different ones never do.

The key is a keyed hash over the scope, the dialect, the operation, the target, the headers that go
on to the provider, and the raw bytes of each top-level member of the request. The gateway hashes
these parts as JSON, so that two different lists of parts never give the same bytes.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, Protocol, Self

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.jsonio import Members
from gateway.core.target import Target


class Hash(Protocol):
    """A hash in progress, with the methods of hashlib."""

    def copy(self) -> Self:
        """Return a copy that continues from here."""
        ...

    def update(self, data: bytes, /) -> None:
        """Add data."""
        ...

    def hexdigest(self) -> str:
        """Return the digest as hexadecimal digits."""
        ...


type Sharing = Literal["key", "tenant", "all"]
"""The scope in which clients share an answer: the client's key, its tenant, or all clients."""

_KEY_DIGITS = 48
"""Hexadecimal digits of a key: 192 bits, so that two requests never get the same key by chance."""
_BLOCK_BYTES = 64
"""The block size of SHA-256 in bytes."""
_VERSION = "tiergate cache 2"
_DELIVERY_MEMBERS = frozenset({"stream", "stream_options"})
"""Members that say how the gateway delivers an answer, not what the answer is."""


def make_scope(sharing: Sharing, key: Key) -> str:
    """Make the scope of a client's key: two keys have the same scope if they share answers."""
    return _format_scope(sharing, key.tenant, key.name)


@lru_cache(maxsize=4096)
def _format_scope(sharing: Sharing, tenant: str, name: str) -> str:
    parts = {"key": [tenant, name], "tenant": [tenant], "all": []}[sharing]
    return jsonio.dumps([sharing, *parts]).decode()


def describe_target(target: Target) -> str:
    """Return every part of a target that may change its answers: URLs, model and settings."""
    parts = (
        target.provider.name,
        sorted(target.provider.urls.items()),
        target.model,
        target.effort,
        target.max_output,
        sorted(target.params.items(), key=lambda item: item[0]),
    )
    return jsonio.dumps(parts).decode()


def start_hash(*, secret: bytes, scope: str, dialect: str, operation: str, target: str) -> Hash:
    """Begin the hash for calls of one scope and one target; each key continues from a copy of it.

    `secret` has at most 64 bytes, and is padded to the first block of SHA-256. `target` describes
    the first target of the plan.
    """
    parts = (_VERSION, scope, dialect, operation, target)
    return hashlib.sha256(secret.ljust(_BLOCK_BYTES, b"\0") + jsonio.dumps(parts))


def make_key(base_hash: Hash, members: Members, headers: Mapping[str, str] | None = None) -> str:
    """Make the key of a request: 48 hexadecimal digits that reveal nothing without the secret.

    `members` are the client's own, before the gateway changes them. `headers` are the headers for
    the provider. The order of members, and the white space between them, do not change the key;
    every byte inside a member does. The key has only part of the hash: nobody can extend it.
    """
    if not _DELIVERY_MEMBERS.isdisjoint(members):
        members = {name: raw for name, raw in members.items() if name not in _DELIVERY_MEMBERS}
    digest = base_hash.copy()
    digest.update(jsonio.dumps_canonical((headers or {}, members)))
    return digest.hexdigest()[:_KEY_DIGITS]
