"""Sessions: which target served a conversation; kept in this process, or in Redis for several."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from gateway.cache import key as keys
from gateway.cache.codec import SealedStore, VersionedCodec
from gateway.core.call import Key
from gateway.core.decision_context import Session
from gateway.state import StateStore

MAX_SESSIONS = 20_000
"""Maximum number of sessions that one process keeps: 13 MB."""
_CODEC = VersionedCodec(Session)


class SessionStore(Protocol):
    """Sessions by the client's key and the name of a conversation. A lost session costs no call.

    No method raises. If two calls of one conversation run at a time, the last one to end wins.
    """

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Find the session of a conversation; None if it has none, or the store does not answer."""
        ...

    def save(self, key: Key, conversation: str, session: Session, ttl: float) -> None:
        """Save the session of a conversation for `ttl` seconds, without waiting."""
        ...

    async def drain(self) -> None:
        """Wait until all processes can find the saved sessions, or they are lost."""
        ...


class LocalSessionStore:
    """Sessions of this process: the latest ones that were saved."""

    def __init__(self, *, clock: Callable[[], float], max_sessions: int = MAX_SESSIONS) -> None:
        """`clock` returns monotonic seconds; at most `max_sessions` are kept."""
        self._clock = clock
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[tuple[str, str, str], tuple[Session, float]] = OrderedDict()

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Find the session of a conversation; None if it has none, or it has expired."""
        entry = self._sessions.get((key.tenant, key.name, conversation))
        if entry is None or self._clock() >= entry[1]:
            return None
        return entry[0]

    async def drain(self) -> None:
        """Return at once: a saved session can be found immediately."""

    def save(self, key: Key, conversation: str, session: Session, ttl: float) -> None:
        """Save a session. If there are too many, drop the one that was saved longest ago."""
        name, sessions = (key.tenant, key.name, conversation), self._sessions
        sessions[name] = session, self._clock() + ttl
        sessions.move_to_end(name)
        if len(sessions) > self._max_sessions:
            sessions.popitem(last=False)


class SharedSessionStore:
    """Sessions of all processes that share a store."""

    def __init__(self, store: StateStore, *, secret: bytes) -> None:
        self._store = SealedStore(store, secret=secret, kind="seat")

    async def find(self, key: Key, conversation: str) -> Session | None:
        """Find the session of a conversation, whichever process served it last."""
        return _CODEC.read(await self._store.get(self._make_name(key, conversation)))

    def save(self, key: Key, conversation: str, session: Session, ttl: float) -> None:
        """Save a session for all processes, without waiting."""
        self._store.post(self._make_name(key, conversation), _CODEC.write(session), ttl)

    async def drain(self) -> None:
        """Wait until all saved sessions are stored, or lost."""
        await self._store.drain()

    def _make_name(self, key: Key, conversation: str) -> str:
        return self._store.make_name(keys.make_scope("key", key), conversation)
