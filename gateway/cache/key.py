"""The name that equal requests share and no two others do.

A keyed hash over who may share the answer, what is asked of whom, and the raw bytes of each
top-level member of the request. Every part is preceded by its length, so that no two lists of parts
run together into the same bytes.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.jsonio import Members
from gateway.core.target import Target

type Sharing = Literal["key", "tenant", "all"]
"""Who sees an answer again: the client's key that got it, its tenant, or everybody."""

_SIZE = 24
"""Bytes of the hash: 192 bits, so that two requests meet by chance never."""
_PERSON = b"tiergate cache 1"
_DELIVERY = frozenset({"stream", "stream_options"})
"""Members that say how an answer is delivered, not what it is."""


def scope(sharing: Sharing, key: Key) -> str:
    """Who shares answers with a client's key: equal for those who do, different for all others."""
    return _scope(sharing, key.tenant, key.name)


@lru_cache(maxsize=4096)
def _scope(sharing: Sharing, tenant: str, name: str) -> str:
    parts = {"key": [tenant, name], "tenant": [tenant], "all": []}[sharing]
    return jsonio.dumps([sharing, *parts]).decode()


def identity(target: Target) -> str:
    """Everything of a target that may change its answers: where it is, its model and settings."""
    parts = (
        target.provider.name,
        sorted(target.provider.doors.items()),
        target.model,
        target.effort,
        target.max_output,
        sorted(target.params.items(), key=lambda item: item[0]),
    )
    return jsonio.dumps(parts).decode()


def key(
    *,
    secret: bytes,
    scope: str,
    dialect: str,
    operation: str,
    target: str,
    members: Members,
    headers: Mapping[str, str] | None = None,
) -> str:
    """The key of a request: 48 hexadecimal digits that tell nothing without the secret.

    `secret` has at most 64 bytes; `target` is the identity of the plan's first; `members` are the
    client's own, not what is sent on; `headers` are those that go on to the provider. The order of
    members and the white space between them change nothing, any byte inside one does.
    """
    digest = _begun(secret, (scope, dialect, operation, target)).copy()
    update = digest.update
    fields = sorted((headers or {}).items())
    update(len(fields).to_bytes(8))
    for name, value in fields:
        for data in (name.encode(), value.encode()):
            update(_length(data) + data)
    for name in sorted(members):
        if name not in _DELIVERY:
            data = name.encode()
            raw = memoryview(members[name])
            update(_length(data) + data + _length(raw))
            update(raw)
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _begun(secret: bytes, parts: tuple[str, ...]) -> "hashlib.blake2b":
    """What keys of calls begin with that go to one target for those who share: to be copied."""
    digest = hashlib.blake2b(key=secret, digest_size=_SIZE, person=_PERSON)
    for text in parts:
        data = text.encode()
        digest.update(_length(data) + data)
    return digest


def _length(data: bytes | memoryview) -> bytes:
    return len(data).to_bytes(8)
