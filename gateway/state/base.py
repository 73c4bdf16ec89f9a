"""The protocol of state that may be lost at any time: bytes by key, for a limited time."""

from typing import Protocol


class StateStore(Protocol):
    """Bytes by key, whose loss costs no request.

    On any failure `get` returns None and `put` does nothing; neither raises. Keys are printable
    ASCII. An empty value counts as no value. Every implementation passes
    tests/contract/test_state_store.py.
    """

    @property
    def alive(self) -> bool:
        """True if a value that is put now can probably be found again."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if there is none, it expired, or the store is lost."""
        ...

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds, replacing the earlier one; do nothing for `ttl` <= 0."""
        ...

    def put_nowait(self, key: str, value: bytes, ttl: float) -> None:
        """Do the same as `put` without waiting; the next `get` finds the value."""
        ...

    async def drain(self) -> None:
        """Wait for all pending writes of `put_nowait`."""
        ...

    async def close(self) -> None:
        """Release all resources. Afterwards `get` returns None and `put` does nothing."""
        ...
