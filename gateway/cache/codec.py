"""Versioned and sealed values, for stores that others may write to.

`VersionedCodec` writes a version before each value: another version of the gateway may share the
store. `SealedStore` finds values by secret names, and seals them.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache

import msgspec

from gateway.state import StateStore

_VERSION = b"\x01"


class VersionedCodec[T]:
    """Writes values of one kind as bytes, and reads them back."""

    def __init__(self, kind: type[T]) -> None:
        self._encode: Callable[[T], bytes] = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def write(self, value: T) -> bytes:
        """Write a value as bytes that `read` accepts."""
        return _VERSION + self._encode(value)

    def read(self, data: bytes | None) -> T | None:
        """Read a value from bytes. Return None for another version and for any other bytes."""
        if data is None or data[:1] != _VERSION:
            return None
        try:
            return self._decode(memoryview(data)[1:])
        except msgspec.DecodeError:
            return None


SEAL_BYTES = 16
"""The length of a seal in bytes."""
_NAME_BYTES = 24
"""The length of a name in bytes, before it is written as hexadecimal digits."""
_NAME_PERSON, _SEAL_PERSON = b"tiergate name 1", b"tiergate seal 2"
_MAX_PREFIXES = 4096
"""Maximum number of first parts of names whose hashes stay in memory."""
MAX_VALUE_BYTES = 8_000_000
"""The size of the largest value in bytes."""


class SealedStore:
    """Sealed values of one kind. Never raises for a stored value: one without our seal is None."""

    def __init__(self, store: StateStore, *, secret: bytes, kind: str) -> None:
        self._store = store
        self._kind = kind = f"{kind}:"
        self._name_hash = hashlib.blake2b(key=secret, digest_size=_NAME_BYTES, person=_NAME_PERSON)
        """The start of the hash of every name."""
        self._prefix_hashes: dict[str, hashlib.blake2b] = {}
        """The starts of the hashes of names, by their first part, which many names share."""
        self._seal_hash = hashlib.blake2b(key=secret, digest_size=SEAL_BYTES, person=_SEAL_PERSON)
        """The start of the hash of every seal. It has the secret and the kind already."""
        self._seal_hash.update(kind.encode())

    def make_name(self, *parts: str) -> str:
        """Make the name of a value. Without the secret, the name reveals nothing of its parts."""
        first_part, other_parts = parts[0], parts[1:]
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
        """Return the value of a name; None if there is none, or if somebody else wrote it."""
        value = await self._store.get(name)
        if value is None or not hmac.compare_digest(
            value[:SEAL_BYTES], self._make_seal(name, value[SEAL_BYTES:])
        ):
            return None
        return value[SEAL_BYTES:]

    async def put(self, name: str, data: bytes, ttl: float) -> None:
        """Store a value for `ttl` seconds. Ignore a value that is too large."""
        if len(data) <= MAX_VALUE_BYTES:
            await self._store.put(name, self._make_seal(name, data) + data, ttl)

    def post(self, name: str, data: bytes, ttl: float) -> None:
        """Store a value like `put`, without waiting."""
        if len(data) <= MAX_VALUE_BYTES:
            self._store.put_nowait(name, self._make_seal(name, data) + data, ttl)

    async def drain(self) -> None:
        """Wait until all values of `post` are stored, or lost."""
        await self._store.drain()

    def _make_seal(self, name: str, data: bytes) -> bytes:
        """Return what `make_seal` returns for a name of this kind."""
        digest = self._seal_hash.copy()
        digest.update(name[len(self._kind) :].encode() + data)
        return digest.digest()


def _encode_part(part: str) -> bytes:
    """Encode a part of a name so that two different lists of parts never give the same bytes."""
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8) + data


def make_seal(secret: bytes, person: bytes, name: str, data: bytes) -> bytes:
    """Make the seal that binds a value to its name, in SEAL_BYTES bytes.

    A value that somebody else wrote, or that belongs to another name, does not match its seal.
    """
    digest = _start_seal_hash(secret, person).copy()
    digest.update(name.encode())
    digest.update(data)
    return digest.digest()


@lru_cache(maxsize=16)
def _start_seal_hash(secret: bytes, person: bytes) -> "hashlib.blake2b":
    """Return a hash that has the secret already. Callers copy it."""
    return hashlib.blake2b(key=secret, digest_size=SEAL_BYTES, person=person)
