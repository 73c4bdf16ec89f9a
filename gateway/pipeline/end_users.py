"""The end users of calls, as rows, budgets and limits know them: by a keyed hash, never by name."""

import hashlib

from gateway.core.call import Call
from gateway.dialects import Dialect, RequestBody
from gateway.dialects.end_user import find_stable_id

HASH_KEY_LABEL = "users"
"""The label of the key that is derived for these hashes."""
_MAX_CACHED = 4_096
"""The most ids whose hashes are cached."""
_MAX_CACHED_CHARS = 512
"""The longest id whose hash is cached: clients choose the lengths."""
_HASH_CHARS = 16
_BLOCK_BYTES = 64
"""The block size of SHA-256. HMAC (RFC 2104) of a key that is hashed beforehand takes 1.3 us here;
`hmac.digest` takes 8 us."""


class EndUserHasher:
    """Hashes the ids of end users with a secret of the deployment.

    An end user belongs to a key: equal ids of two keys have different hashes. So no hash tells of
    another key's users, and nobody who lacks the secret can find an id by trying.
    """

    __slots__ = ("_hashes", "_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        """Take a secret of at most 64 bytes."""
        padded = secret.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        self._hashes: dict[tuple[str, str, str], str | None] = {}

    def find(self, call: Call, dialect: Dialect, body: RequestBody) -> str | None:
        """Return the hash of the end user of a call; None if the call names none."""
        key, user = call.key, call.end_user or dialect.read_end_user(body.outline)
        result = self.hash_id(key.tenant, key.name, user) if user else None
        if result is None and call.default_end_user:
            return self.hash_id(key.tenant, key.name, call.default_end_user)
        return result

    def hash_id(self, tenant: str, key: str, user: str) -> str | None:
        """Return the hash of an id; None if the id names nobody, as one of a session alone."""
        if len(user) > _MAX_CACHED_CHARS:
            return self._hash_id(tenant, key, user)
        cache_key = tenant, key, user
        try:
            return self._hashes[cache_key]
        except KeyError:
            if len(self._hashes) >= _MAX_CACHED:
                self._hashes.clear()
            result = self._hashes[cache_key] = self._hash_id(tenant, key, user)
            return result

    def _hash_id(self, tenant: str, key: str, user: str) -> str | None:
        stable_id = find_stable_id(user)
        if not stable_id:
            return None
        text = f"{tenant}\0{key}\0{stable_id}".encode("utf-8", "surrogatepass")
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest()[:_HASH_CHARS]
