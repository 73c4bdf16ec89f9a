"""Where conversations sit, from call to call: in this process, or in Redis for several."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from gateway.cache import key as keys
from gateway.cache.codec import SealedStore, VersionedCodec
from gateway.core.call import Key
from gateway.core.decision_context import Session
from gateway.state import StateStore

MAX_SESSIONS = 20_000
"""Conversations that one process remembers: 13 MB."""
_CODEC = VersionedCodec(Session)


class SessionStore(Protocol):
    """Seats by the key of a client and the name of a conversation, where losing one costs no call.

    None raises. Of two calls of one conversation at a time the last that ends is kept.
    """

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Where a conversation sits; None where it has no seat, or nobody can be asked."""
        ...

    def save(self, key: Key, conversation: str, session: Session, ttl: float) -> None:
        """It sits here from now on, for `ttl` seconds; nobody waits for it to be known."""
        ...

    async def drain(self) -> None:
        """Wait until what was kept is known to all, or lost."""
        ...


class LocalSessionStore:
    """Seats of this process, those that were kept last."""

    def __init__(self, *, clock: Callable[[], float], max_sessions: int = MAX_SESSIONS) -> None:
        """`clock` is monotonic seconds; `max_sessions` are remembered."""
        self._clock = clock
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[tuple[str, str, str], tuple[Session, float]] = OrderedDict()

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Where a conversation sits."""
        entry = self._sessions.get((key.tenant, key.name, conversation))
        if entry is None or self._clock() >= entry[1]:
            return None
        return entry[0]

    async def drain(self) -> None:
        """What is kept is known at once."""

    def save(self, key: Key, conversation: str, session: Session, ttl: float) -> None:
        """It sits here, at the expense of what was not kept for longest."""
        name, sessions = (key.tenant, key.name, conversation), self._sessions
        sessions[name] = session, self._clock() + ttl
        sessions.move_to_end(name)
        if len(sessions) > self._max_sessions:
            sessions.popitem(last=False)


class SharedSessionStore:
    """Seats of all that share a store."""

    def __init__(self, store: StateStore, *, secret: bytes) -> None:
        self._store = SealedStore(store, secret=secret, kind="seat")

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Where a conversation sits, whoever served it last."""
        return _CODEC.read(await self._store.get(self._make_name(key, conversation)))

    def save(self, key: Key, conversation: str, session: Session, ttl: float) -> None:
        """It sits here for all."""
        self._store.post(self._make_name(key, conversation), _CODEC.write(session), ttl)

    async def drain(self) -> None:
        """Wait until all that was kept has been told."""
        await self._store.drain()

    def _make_name(self, key: Key, conversation: str) -> str:
        return self._store.make_name(keys.make_scope("key", key), conversation)
