"""The response cache for equal requests: what it takes, what it keeps, and where that is found."""

import hmac
import math
from collections.abc import Callable

from gateway.cache import key as keys
from gateway.cache import recording as recordings
from gateway.cache.key import Sharing
from gateway.cache.policy import Policy
from gateway.cache.recording import Recording
from gateway.cache.sealed import SEAL, seal
from gateway.core.call import Call
from gateway.core.jsonio import Members
from gateway.core.target import Target
from gateway.state import Store

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

_NOTE_EVERY = 60.0
_PERSON = b"tiergate seal 1"
_MOST_TARGETS = 256
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
_SHIPPED = Policy()


class Exact:
    """Answers by request. Never raises for what a store holds: what cannot be read is a miss."""

    def __init__(
        self,
        store: Store,
        *,
        secret: bytes,
        ttl: float,
        clock: Callable[[], float],
        sharing: Sharing = "key",
        policy: Policy = _SHIPPED,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Keep answers for `ttl` seconds.

        `clock` gives seconds since the epoch. `policy` says which calls the cache serves. `note`
        takes a text, once a minute at most, about values that somebody else must have written.
        """
        self._store = store
        self._secret = secret
        self._ttl = ttl
        self._clock = clock
        self._sharing: Sharing = sharing
        self.policy = policy
        self._note = note
        self._noted = -math.inf
        self._targets: dict[int, tuple[Target, str]] = {}
        """What of them may change an answer, by their identity here, which they keep so."""

    def key(self, call: Call, members: Members, target: Target) -> str:
        """The key of a call whose plan begins with `target`; see gateway.cache.key."""
        return keys.key(
            secret=self._secret,
            scope=keys.scope(self._sharing, call.key),
            dialect=call.dialect,
            operation=f"{call.operation}?{call.query}" if call.query else call.operation,
            target=self._identity(target),
            members=members,
            headers={k: v for k, v in call.headers.items() if k not in _PER_CALL},
        )

    def keeps(self, recording: Recording, *, status: int, complete: bool, first: bool) -> bool:
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

    async def find(self, key: str) -> Recording | None:
        """The recording of a key: whole, of this version, sealed for this key and not too old."""
        value = await self._store.get(_name(key))
        if value is None or len(value) > MOST + _SPARE:
            return None
        data = value[SEAL:]
        if not hmac.compare_digest(value[:SEAL], self._seal(key, data)):
            self._doubt()
            return None
        recording = recordings.read(data)
        if recording is None or recording.created + self._ttl < self._clock():
            return None
        return recording

    async def store(self, key: str, recording: Recording) -> None:
        """Keep a recording that `keeps` has let pass."""
        data = recordings.write(recording)
        await self._store.put(_name(key), self._seal(key, data) + data, self._ttl)

    def _identity(self, target: Target) -> str:
        """Of a target; found out once, as long as there are few."""
        kept = self._targets.get(id(target))
        if kept is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            kept = self._targets[id(target)] = target, keys.identity(target)
        return kept[1]

    def _doubt(self) -> None:
        now = self._clock()
        if now - self._noted >= _NOTE_EVERY:
            self._noted = now
            self._note("a value in the cache was not written by this gateway; it is not used")

    def _seal(self, key: str, data: bytes) -> bytes:
        return seal(self._secret, _PERSON, key, data)


def _name(key: str) -> str:
    return "cache:" + key
