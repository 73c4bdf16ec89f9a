"""Where conversations sit, from call to call: in this process, or in Redis for several."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from gateway.cache import key as keys
from gateway.cache.codec import SealedStore, VersionedCodec
from gateway.core.call import Key
from gateway.core.decision_context import Session
from gateway.state import StateStore

MOST = 20_000
"""Conversations that one process remembers: 13 MB."""
_PACKED = VersionedCodec(Session)


class SessionStore(Protocol):
    """Seats by the key of a client and the name of a conversation, where losing one costs no call.

    None raises. Of two calls of one conversation at a time the last that ends is kept.
    """

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Where a conversation sits; None where it has no seat, or nobody can be asked."""
        ...

    def keep(self, key: Key, conversation: str, seat: Session, ttl: float) -> None:
        """It sits here from now on, for `ttl` seconds; nobody waits for it to be known."""
        ...

    async def drain(self) -> None:
        """Wait until what was kept is known to all, or lost."""
        ...


class LocalSessionStore:
    """Seats of this process, those that were kept last."""

    def __init__(self, *, clock: Callable[[], float], most: int = MOST) -> None:
        """`clock` is monotonic seconds; `most` are remembered."""
        self._clock = clock
        self._most = most
        self._seats: OrderedDict[tuple[str, str, str], tuple[Session, float]] = OrderedDict()

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Where a conversation sits."""
        found = self._seats.get((key.tenant, key.name, conversation))
        if found is None or self._clock() >= found[1]:
            return None
        return found[0]

    async def drain(self) -> None:
        """What is kept is known at once."""

    def keep(self, key: Key, conversation: str, seat: Session, ttl: float) -> None:
        """It sits here, at the expense of what was not kept for longest."""
        name, seats = (key.tenant, key.name, conversation), self._seats
        seats[name] = seat, self._clock() + ttl
        seats.move_to_end(name)
        if len(seats) > self._most:
            seats.popitem(last=False)


class SharedSessionStore:
    """Seats of all that share a store."""

    def __init__(self, store: StateStore, *, secret: bytes) -> None:
        self._sealed = SealedStore(store, secret=secret, kind="seat")

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Where a conversation sits, whoever served it last."""
        return _PACKED.read(await self._sealed.get(self._name(key, conversation)))

    def keep(self, key: Key, conversation: str, seat: Session, ttl: float) -> None:
        """It sits here for all."""
        self._sealed.post(self._name(key, conversation), _PACKED.write(seat), ttl)

    async def drain(self) -> None:
        """Wait until all that was kept has been told."""
        await self._sealed.drain()

    def _name(self, key: Key, conversation: str) -> str:
        return self._sealed.name(keys.scope("key", key), conversation)
