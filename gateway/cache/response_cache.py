"""The response cache for equal requests: its keys, the answers that it stores, and their lookup."""

import hmac
import math
from collections.abc import Callable

from gateway.cache import cached_response
from gateway.cache import key as keys
from gateway.cache.cached_response import CachedResponse
from gateway.cache.codec import SEAL_BYTES, make_seal
from gateway.cache.key import Sharing
from gateway.cache.policy import CachePolicy
from gateway.core.call import Call, Key
from gateway.core.jsonio import Members
from gateway.core.target import Target
from gateway.state import StateStore

MAX_BODY_BYTES = 8_000_000
"""The size of the largest answer that is stored, in bytes."""
COMPLETE_FINISHES = frozenset(
    {
        "stop", "tool_calls", "function_call",  # OpenAI and most that follow it
        "eos", "eos_token", "stop_sequence", "end_turn", "tool_use",  # Together, TGI, Anthropic
        "completed", "STOP",  # Responses, Gemini
    }
)  # fmt: skip
"""Finish reasons of a complete answer. The cache stores no cut or filtered answer, and none with
an unknown reason."""

_KEY_PREFIX = "cache:"
_NOTE_SECONDS = 60.0
_PERSON = b"tiergate seal 1"
_MAX_STARTS = 1024
_MAX_OVERHEAD_BYTES = 4096
"""Maximum bytes of a stored answer beside its body."""
_PER_CALL_HEADERS = frozenset(
    {
        "idempotency-key", "traceparent", "tracestate", "user-agent", "x-request-id",
        "x-grok-conv-id", "x-session-affinity", "x-session-id", "x-claude-code-session-id",
        "session_id", "conversation_id", "x-claude-code-agent-id", "x-claude-code-parent-agent-id",
    }
)  # fmt: skip
"""Headers that name a call, a session or a client. All other headers may change the answer."""
_DEFAULT_POLICY = CachePolicy()

type _StartKey = tuple[str, str, str, str, int]
"""Tenant, key, dialect, operation and the target's `id()`: the parts that many calls share."""
type _HashStart = tuple[Target, keys.Hash]
"""The target, kept so that no other one gets its `id()`, and the hash that such keys begin with."""


class ResponseStore:
    """Stored answers by request. Never raises for a stored value: an unreadable value is a miss."""

    def __init__(
        self,
        store: StateStore,
        *,
        secret: bytes,
        ttl: float,
        clock: Callable[[], float],
        sharing: Sharing = "key",
        policy: CachePolicy = _DEFAULT_POLICY,
        is_sealed: bool = True,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Store answers for `ttl` seconds.

        `clock` returns seconds since the epoch. `policy` says which calls the cache serves.
        `is_sealed` is True if others may write to the store: then each answer has a seal. `note`
        gets a text, at most once a minute, about values that somebody else must have written.
        """
        self._store = store
        self._secret = secret
        self._ttl = ttl
        self._clock = clock
        self._sharing: Sharing = sharing
        self.policy = policy
        self._is_sealed = is_sealed
        self._note = note
        self._noted_at = -math.inf
        self._starts: dict[_StartKey, _HashStart] = {}

    def make_key(self, call: Call, members: Members, target: Target) -> str:
        """Make the key of a call whose plan begins with `target`; see gateway.cache.key."""
        client_key, operation = call.key, call.operation
        if call.query:
            operation = f"{operation}?{call.query}"
        start_key = client_key.tenant, client_key.name, call.dialect, operation, id(target)
        start = self._starts.get(start_key)
        if start is None:
            start = self._start_hash(start_key, client_key, target)
        headers = call.headers
        if headers:
            headers = {
                name: value for name, value in headers.items() if name not in _PER_CALL_HEADERS
            }
        return keys.make_key(start[1], members, headers)

    def accepts(
        self, cached: CachedResponse, *, status: int, complete: bool, is_first: bool
    ) -> bool:
        """Return True if the gateway may give an answer again.

        `complete`: the answer ended as its dialect ends one. `is_first`: the plan's first target
        gave it.
        """
        return (
            status == 200
            and complete
            and is_first
            and cached.finish in COMPLETE_FINISHES
            and len(cached.body) <= MAX_BODY_BYTES
        )

    async def find(self, key: str) -> CachedResponse | None:
        """Find the answer of a key. Return None if there is none that may be used.

        An answer must be of this version, sealed for this key, and not too old or too large.
        """
        value = await self._store.get(_KEY_PREFIX + key)
        if value is None or len(value) > MAX_BODY_BYTES + _MAX_OVERHEAD_BYTES:
            return None
        if self._is_sealed:
            stored_seal, value = value[:SEAL_BYTES], value[SEAL_BYTES:]
            if not hmac.compare_digest(stored_seal, self._make_seal(key, value)):
                self._note_foreign_value()
                return None
        cached = cached_response.read(value)
        if cached is None or cached.created + self._ttl < self._clock():
            return None
        return cached

    def store(self, key: str, cached: CachedResponse) -> None:
        """Store an answer for which `accepts` returned True, without waiting."""
        data = cached_response.write(cached)
        if self._is_sealed:
            data = self._make_seal(key, data) + data
        self._store.put_nowait(_KEY_PREFIX + key, data, self._ttl)

    async def drain(self) -> None:
        """Wait until all answers are written, or lost."""
        await self._store.drain()

    def _start_hash(self, start_key: _StartKey, client_key: Key, target: Target) -> _HashStart:
        """Begin the hash of such keys, and remember it. Forget all when they become too many."""
        _, _, dialect, operation, _ = start_key
        start = (
            target,
            keys.start_hash(
                secret=self._secret,
                scope=keys.make_scope(self._sharing, client_key),
                dialect=dialect,
                operation=operation,
                target=keys.describe_target(target),
            ),
        )
        if len(self._starts) >= _MAX_STARTS:
            self._starts.clear()
        self._starts[start_key] = start
        return start

    def _note_foreign_value(self) -> None:
        now = self._clock()
        if now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            self._note(
                "the cache has a value that this gateway did not write; the gateway ignores it"
            )

    def _make_seal(self, key: str, data: bytes) -> bytes:
        return make_seal(self._secret, _PERSON, key, data)
