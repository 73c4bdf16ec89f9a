"""The name that equal requests share and no two others do.

It is a keyed hash over the scope, the operation, the target, and the raw bytes of each top-level
member of the request. All of it is written as JSON, so that no two lists of parts run
together into the same bytes.
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
    """A hash that is begun, as hashlib has it."""

    def copy(self) -> Self:
        """Begin another one at this place."""
        ...

    def update(self, data: bytes, /) -> None:
        """Go on."""
        ...

    def hexdigest(self) -> str:
        """Write what it came to as hexadecimal digits."""
        ...


type Sharing = Literal["key", "tenant", "all"]
"""Who sees an answer again: the client's key that got it, its tenant, or everybody."""

_KEY_DIGITS = 48
"""Digits of a key: 192 bits, so that two requests never meet by chance."""
_BLOCK_BYTES = 64
"""Bytes that SHA-256 takes at a time."""
_VERSION = "tiergate cache 2"
_DELIVERY_MEMBERS = frozenset({"stream", "stream_options"})
"""Members that say how an answer is delivered, not what it is."""


def make_scope(sharing: Sharing, key: Key) -> str:
    """Who shares answers with a client's key: equal for those who do, different for all others."""
    return _format_scope(sharing, key.tenant, key.name)


@lru_cache(maxsize=4096)
def _format_scope(sharing: Sharing, tenant: str, name: str) -> str:
    parts = {"key": [tenant, name], "tenant": [tenant], "all": []}[sharing]
    return jsonio.dumps([sharing, *parts]).decode()


def describe_target(target: Target) -> str:
    """Everything of a target that may change its answers: where it is, its model and settings."""
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
    """Begin the hash of calls of one scope and one target; each key goes on from a copy of it.

    `secret` has at most 64 bytes, and fills the first block of SHA-256. `target` is the identity of
    the plan's first.
    """
    parts = (_VERSION, scope, dialect, operation, target)
    return hashlib.sha256(secret.ljust(_BLOCK_BYTES, b"\0") + jsonio.dumps(parts))


def make_key(base_hash: Hash, members: Members, headers: Mapping[str, str] | None = None) -> str:
    """Make the key of a request: 48 hexadecimal digits that tell nothing without the secret.

    `members` are the client's own, not what is sent on; `headers` are those that go on to the
    provider. The order of members and the white space between them change nothing, any byte inside
    one does. Only part of the hash is in the key, so that nobody can go on from it.
    """
    if not _DELIVERY_MEMBERS.isdisjoint(members):
        members = {name: raw for name, raw in members.items() if name not in _DELIVERY_MEMBERS}
    digest = base_hash.copy()
    digest.update(jsonio.dumps_canonical((headers or {}, members)))
    return digest.hexdigest()[:_KEY_DIGITS]
