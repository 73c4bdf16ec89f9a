"""The protocol of state that may be lost at any time: bytes by key, for a while."""

from typing import Protocol


class StateStore(Protocol):
    """Bytes by key, where losing them costs no request.

    On any failure `get` is None and `put` does nothing; neither raises. Keys are made of
    printable ASCII; an empty value is none. Every implementation passes
    tests/contract/test_store.py.
    """

    @property
    def alive(self) -> bool:
        """Whether what is put now is likely to be found again."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The value of a key; None where there is none, it has expired, or the store is lost."""
        ...

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds, in place of the one before; not at all for `ttl` <= 0."""
        ...

    def put_nowait(self, key: str, value: bytes, ttl: float) -> None:
        """The same, where nobody waits for it; who gets it next finds it."""
        ...

    async def drain(self) -> None:
        """Wait for all that was posted."""
        ...

    async def close(self) -> None:
        """Give back what it holds. After it `get` is None and `put` does nothing."""
        ...
