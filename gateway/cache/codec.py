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


SEAL = 16
"""Bytes of a seal."""
_NAME = 24
"""Bytes of a name."""
_NAME_PERSON, _SEAL_PERSON = b"tiergate name 1", b"tiergate seal 2"
_MOST = 4096
"""First parts of names that are kept."""
MOST = 8_000_000
"""Bytes of the longest value."""


class SealedStore:
    """Bytes of one kind. Never raises for what a store holds: what was not sealed here is none."""

    def __init__(self, store: StateStore, *, secret: bytes, kind: str) -> None:
        self._store = store
        self._kind = kind = f"{kind}:"
        self._start = hashlib.blake2b(key=secret, digest_size=_NAME, person=_NAME_PERSON)
        """Of every name."""
        self._begun: dict[str, hashlib.blake2b] = {}
        """Of names by their first part, which many share."""
        self._seals = hashlib.blake2b(key=secret, digest_size=SEAL, person=_SEAL_PERSON)
        """Of every seal, with the kind: the secret is worked in once for all."""
        self._seals.update(kind.encode())

    def name(self, *parts: str) -> str:
        """The name of a value: it tells nothing of its parts to whoever lacks the secret."""
        first, *others = parts
        begun = self._begun.get(first)
        if begun is None:
            begun = self._start.copy()
            begun.update(_told(first))
            if others:
                if len(self._begun) >= _MOST:
                    self._begun.clear()
                self._begun[first] = begun
        digest = begun.copy()
        for part in others:
            digest.update(_told(part))
        return self._kind + digest.hexdigest()

    async def get(self, name: str) -> bytes | None:
        """The value that was put under a name; None where there is none, or another wrote it."""
        value = await self._store.get(name)
        if value is None or not hmac.compare_digest(value[:SEAL], self._seal(name, value[SEAL:])):
            return None
        return value[SEAL:]

    async def put(self, name: str, data: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; one that is too long is not kept."""
        if len(data) <= MOST:
            await self._store.put(name, self._seal(name, data) + data, ttl)

    def post(self, name: str, data: bytes, ttl: float) -> None:
        """The same, where nobody waits for it."""
        if len(data) <= MOST:
            self._store.post(name, self._seal(name, data) + data, ttl)

    async def drain(self) -> None:
        """Wait for all that was posted."""
        await self._store.drain()

    def _seal(self, name: str, data: bytes) -> bytes:
        """As of `seal`, for a name of this kind."""
        made = self._seals.copy()
        made.update(name[len(self._kind) :].encode() + data)
        return made.digest()


def _told(part: str) -> bytes:
    """A part of a name, so that no two lists of parts are the same bytes."""
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8) + data


def seal(secret: bytes, person: bytes, name: str, data: bytes) -> bytes:
    """What binds a value to its name, in SEAL bytes: another's there is known as one."""
    made = _started(secret, person).copy()
    made.update(name.encode())
    made.update(data)
    return made.digest()


@lru_cache(maxsize=16)
def _started(secret: bytes, person: bytes) -> "hashlib.blake2b":
    """Into which the secret is worked, once for all; to be copied."""
    return hashlib.blake2b(key=secret, digest_size=SEAL, person=person)
