"""Values of one kind in a store that others may write to: found by secret names, and sealed.

Values as bytes of a version, for a store that may hold what another version wrote.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache

import msgspec

from gateway.state import StateStore

_VERSION = b"\x01"


class VersionedCodec[T]:
    """Values of one kind, as bytes and back."""

    def __init__(self, kind: type[T]) -> None:
        self._encode: Callable[[T], bytes] = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def write(self, value: T) -> bytes:
        """A value as bytes that `read` takes."""
        return _VERSION + self._encode(value)

    def read(self, data: bytes | None) -> T | None:
        """The value that bytes hold; None for those of another version and for anything else."""
        if data is None or data[:1] != _VERSION:
            return None
        try:
            return self._decode(memoryview(data)[1:])
        except msgspec.DecodeError:
            return None


SEAL_BYTES = 16
"""Bytes of a seal."""
_NAME_BYTES = 24
"""Bytes of a name."""
_NAME_PERSON, _SEAL_PERSON = b"tiergate name 1", b"tiergate seal 2"
_MAX_PREFIXES = 4096
"""First parts of names that are kept."""
MAX_VALUE_BYTES = 8_000_000
"""Bytes of the longest value."""


class SealedStore:
    """Bytes of one kind. Never raises for what a store holds: what was not sealed here is none."""

    def __init__(self, store: StateStore, *, secret: bytes, kind: str) -> None:
        self._store = store
        self._kind = kind = f"{kind}:"
        self._name_hash = hashlib.blake2b(key=secret, digest_size=_NAME_BYTES, person=_NAME_PERSON)
        """Of every name."""
        self._prefix_hashes: dict[str, hashlib.blake2b] = {}
        """Of names by their first part, which many share."""
        self._seal_hash = hashlib.blake2b(key=secret, digest_size=SEAL_BYTES, person=_SEAL_PERSON)
        """Of every seal, with the kind: the secret is worked in once for all."""
        self._seal_hash.update(kind.encode())

    def make_name(self, *parts: str) -> str:
        """The name of a value: it tells nothing of its parts to whoever lacks the secret."""
        first_part, *other_parts = parts
        prefix_hash = self._prefix_hashes.get(first_part)
        if prefix_hash is None:
            prefix_hash = self._name_hash.copy()
            prefix_hash.update(_encode_part(first_part))
            if other_parts:
                if len(self._prefix_hashes) >= _MAX_PREFIXES:
                    self._prefix_hashes.clear()
                self._prefix_hashes[first_part] = prefix_hash
        digest = prefix_hash.copy()
        for part in other_parts:
            digest.update(_encode_part(part))
        return self._kind + digest.hexdigest()

    async def get(self, name: str) -> bytes | None:
        """The value that was put under a name; None where there is none, or another wrote it."""
        value = await self._store.get(name)
        if value is None or not hmac.compare_digest(
            value[:SEAL_BYTES], self._make_seal(name, value[SEAL_BYTES:])
        ):
            return None
        return value[SEAL_BYTES:]

    async def put(self, name: str, data: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; one that is too long is not kept."""
        if len(data) <= MAX_VALUE_BYTES:
            await self._store.put(name, self._make_seal(name, data) + data, ttl)

    def post(self, name: str, data: bytes, ttl: float) -> None:
        """The same, where nobody waits for it."""
        if len(data) <= MAX_VALUE_BYTES:
            self._store.put_nowait(name, self._make_seal(name, data) + data, ttl)

    async def drain(self) -> None:
        """Wait for all that was posted."""
        await self._store.drain()

    def _make_seal(self, name: str, data: bytes) -> bytes:
        """As of `make_seal`, for a name of this kind."""
        digest = self._seal_hash.copy()
        digest.update(name[len(self._kind) :].encode() + data)
        return digest.digest()


def _encode_part(part: str) -> bytes:
    """A part of a name, so that no two lists of parts are the same bytes."""
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8) + data


def make_seal(secret: bytes, person: bytes, name: str, data: bytes) -> bytes:
    """What binds a value to its name, in SEAL bytes: another's there is known as one."""
    digest = _start_seal_hash(secret, person).copy()
    digest.update(name.encode())
    digest.update(data)
    return digest.digest()


@lru_cache(maxsize=16)
def _start_seal_hash(secret: bytes, person: bytes) -> "hashlib.blake2b":
    """Into which the secret is worked, once for all; to be copied."""
    return hashlib.blake2b(key=secret, digest_size=SEAL_BYTES, person=person)
