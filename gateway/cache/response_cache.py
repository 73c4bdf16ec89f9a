"""The response cache for equal requests: what it takes, what it keeps, and where that is found."""

import hmac
import math
from collections.abc import Callable

from gateway.cache import cached_response as recordings
from gateway.cache import key as keys
from gateway.cache.cached_response import CachedResponse
from gateway.cache.codec import SEAL, seal
from gateway.cache.key import Sharing
from gateway.cache.policy import CachePolicy
from gateway.core.call import Call, Key
from gateway.core.jsonio import Members
from gateway.core.target import Target
from gateway.state import StateStore

MOST = 8_000_000
"""Bytes of the longest answer that is kept."""
FINISHED = frozenset(
    {
        "stop", "tool_calls", "function_call",  # OpenAI and most that follow it
        "eos", "eos_token", "stop_sequence", "end_turn", "tool_use",  # Together, TGI, Anthropic
        "completed", "STOP",  # Responses, Gemini
    }
)  # fmt: skip
"""Finishes of an answer that is all there. Cut, filtered and unknown ones are not kept."""

_PREFIX = "cache:"
_NOTE_EVERY = 60.0
_PERSON = b"tiergate seal 1"
_MOST_STARTS = 1024
_SPARE = 4096
"""Bytes of a recording beside its body."""
_PER_CALL = frozenset(
    {
        "idempotency-key", "traceparent", "tracestate", "user-agent", "x-request-id",
        "x-grok-conv-id", "x-session-affinity", "x-session-id", "x-claude-code-session-id",
        "session_id", "conversation_id", "x-claude-code-agent-id", "x-claude-code-parent-agent-id",
    }
)  # fmt: skip
"""Headers that name a call or a session, or its client; all others may change the answer."""
_SHIPPED = CachePolicy()

type _Shared = tuple[str, str, str, str, int]
"""Tenant, key, dialect, operation and the target's id: all that such calls have in common."""
type _Start = tuple[Target, keys.Hash]
"""The target, so that no other gets its id, and the hash that such keys begin with."""


class ResponseStore:
    """Answers by request. Never raises for what a store holds: what cannot be read is a miss."""

    def __init__(
        self,
        store: StateStore,
        *,
        secret: bytes,
        ttl: float,
        clock: Callable[[], float],
        sharing: Sharing = "key",
        policy: CachePolicy = _SHIPPED,
        sealed: bool = True,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Keep answers for `ttl` seconds.

        `clock` gives seconds since the epoch. `policy` says which calls the cache serves. Answers
        are `sealed` where others may write to the store. `note` takes a text, once a minute at
        most, about values that somebody else must have written.
        """
        self._store = store
        self._secret = secret
        self._ttl = ttl
        self._clock = clock
        self._sharing: Sharing = sharing
        self.policy = policy
        self._sealed = sealed
        self._note = note
        self._noted = -math.inf
        self._starts: dict[_Shared, _Start] = {}

    def key(self, call: Call, members: Members, target: Target) -> str:
        """Make the key of a call whose plan begins with `target`; see gateway.cache.key."""
        who, operation = call.key, call.operation
        if call.query:
            operation = f"{operation}?{call.query}"
        shared = who.tenant, who.name, call.dialect, operation, id(target)
        start = self._starts.get(shared)
        if start is None:
            start = self._start(shared, who, target)
        headers = call.headers
        if headers:
            headers = {name: value for name, value in headers.items() if name not in _PER_CALL}
        return keys.key(start[1], members, headers)

    def keeps(self, recording: CachedResponse, *, status: int, complete: bool, first: bool) -> bool:
        """Tell whether an answer may be given again.

        `complete`: it ended as its dialect ends one; `first`: the plan's first target gave it.
        """
        return (
            status == 200
            and complete
            and first
            and recording.finish in FINISHED
            and len(recording.body) <= MOST
        )

    async def find(self, key: str) -> CachedResponse | None:
        """Find the recording of a key: whole, of this version, sealed for this key, not too old."""
        value = await self._store.get(_PREFIX + key)
        if value is None or len(value) > MOST + _SPARE:
            return None
        if self._sealed:
            mark, value = value[:SEAL], value[SEAL:]
            if not hmac.compare_digest(mark, self._seal(key, value)):
                self._doubt()
                return None
        recording = recordings.read(value)
        if recording is None or recording.created + self._ttl < self._clock():
            return None
        return recording

    def store(self, key: str, recording: CachedResponse) -> None:
        """Keep a recording that `keeps` has let pass; nobody waits for it."""
        data = recordings.write(recording)
        if self._sealed:
            data = self._seal(key, data) + data
        self._store.post(_PREFIX + key, data, self._ttl)

    async def drain(self) -> None:
        """Wait until all that was stored is kept, or lost."""
        await self._store.drain()

    def _start(self, shared: _Shared, who: Key, target: Target) -> _Start:
        """Begin the keys of such calls, and keep that as long as there are few."""
        _, _, dialect, operation, _ = shared
        start = (
            target,
            keys.start(
                secret=self._secret,
                scope=keys.scope(self._sharing, who),
                dialect=dialect,
                operation=operation,
                target=keys.identity(target),
            ),
        )
        if len(self._starts) >= _MOST_STARTS:
            self._starts.clear()
        self._starts[shared] = start
        return start

    def _doubt(self) -> None:
        now = self._clock()
        if now - self._noted >= _NOTE_EVERY:
            self._noted = now
            self._note("a value in the cache was not written by this gateway; it is not used")

    def _seal(self, key: str, data: bytes) -> bytes:
        return seal(self._secret, _PERSON, key, data)
