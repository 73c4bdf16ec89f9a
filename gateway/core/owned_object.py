"""An object that a key has made at a provider."""

from typing import NamedTuple

import msgspec

from gateway.core.jsonio import Json


class ObjectPlace(NamedTuple):
    """The provider account where an object of the caller is."""

    provider: str
    account: str


class OwnedObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file, batch, vector store or the like at a provider, and the key that made it."""

    id: str
    """The provider's id, or its name: `files/abc-123`."""
    kind: str
    """The kind: file, upload, batch, vector_store, fine_tuning_job, cached_content, ..."""
    tenant: str
    key: str
    """The name of the key that made it."""
    provider: str
    account: str
    """The account of the provider where it is."""
    created_at: float
    """Seconds since the epoch."""
    expires_at: float | None = None
    """When the provider deletes it by itself; None if it does not, or does not say."""
    facts: dict[str, Json] = {}
    """Facts that the gateway needs later: bytes, the job, bounds of a batch."""
