"""Indexes of question vectors: in this process, or shared in Redis (vector sets of Redis 8.0)."""

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable

from gateway.cache.semantic.cache import Hits, Vector, VectorIndex
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import RedisError, Reply
from gateway.state.redis.store import KEY_PREFIX, RedisStore

MAX_BYTES = 32_000_000
"""Approximate maximum bytes of one process's index. It drops the groups unused for longest."""
_OVERHEAD_BYTES = 600
"""Bytes of a group, and of a name, beside the vector: measured with tracemalloc."""
MAX_GROUP_NAMES = 16
"""Maximum number of wordings of one question that the index keeps."""
_MAX_HITS = 3
_UNSUPPORTED_ERRORS = ("ERR unknown command", "NOPERM")
"""Beginnings of the error of a Redis that has no vector sets, or forbids their use."""


class LocalVectorIndex:
    """The vectors of one process."""

    def __init__(self, *, clock: Callable[[], float], max_bytes: int = MAX_BYTES) -> None:
        """`clock` returns monotonic seconds; `max_bytes` is approximate."""
        self._clock = clock
        self._max_bytes = max_bytes
        self._groups: OrderedDict[str, dict[str, tuple[array[float], float]] | float] = (
            OrderedDict()
        )
        """Vector and expiry by name, for each group. A float is the time until which a group is
        blocked."""
        self._size = 0

    async def has_entries(self, group: str) -> bool:
        """Return True if a group has vectors and is not blocked."""
        return bool(self._find_open(group))

    async def find_nearest(self, group: str, vector: Vector) -> Hits:
        """Find the nearest vectors of a group that have not expired."""
        hits = [
            (name, compute_cosine(vector, stored_vector))
            for name, (stored_vector, expires_at) in (self._find_open(group) or {}).items()
            if self._clock() < expires_at
        ]
        return sorted(hits, key=lambda hit: -hit[1])[:_MAX_HITS]

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Add a name. Drop the oldest name of a full group, and the groups unused for longest."""
        entries = self._find_open(group)
        if entries is None:
            return
        entries = {**entries, name: (array("f", vector), self._clock() + ttl)}
        if len(entries) > MAX_GROUP_NAMES:
            del entries[next(iter(entries))]
        self._store_group(group, entries)

    async def remove(self, group: str, name: str) -> None:
        """Remove a name from a group."""
        entries = self._find_open(group)
        if entries:
            self._store_group(
                group,
                {other_name: entry for other_name, entry in entries.items() if other_name != name},
            )

    async def block_group(self, group: str, ttl: float) -> None:
        """Remove a group, and add nothing to it for `ttl` seconds."""
        self._store_group(group, self._clock() + ttl)

    def _find_open(self, group: str) -> dict[str, tuple[array[float], float]] | None:
        """Return the names of a group with vector and expiry; None if it is blocked."""
        entry = self._groups.get(group)
        if entry is None:
            return {}
        self._groups.move_to_end(group)
        if isinstance(entry, float):
            return None if self._clock() < entry else {}
        return entry

    def _store_group(
        self, group: str, value: dict[str, tuple[array[float], float]] | float
    ) -> None:
        self._size += _estimate_bytes(value) - _estimate_bytes(self._groups.get(group))
        self._groups[group] = value
        self._groups.move_to_end(group)
        while self._size > self._max_bytes:
            self._size -= _estimate_bytes(self._groups.popitem(last=False)[1])


def _estimate_bytes(value: dict[str, tuple[array[float], float]] | float | None) -> int:
    """Estimate the bytes of a group."""
    if value is None:
        return 0
    entries = value.values() if isinstance(value, dict) else ()
    return _OVERHEAD_BYTES + sum(
        _OVERHEAD_BYTES + vector.itemsize * len(vector) for vector, _ in entries
    )


class _NoVectorSets(Exception):
    """The server has no vector sets."""


class RedisVectorIndex:
    """Vectors that processes share in Redis. If it has no vector sets, each process has its own."""

    def __init__(
        self, redis: RedisStore, fallback: VectorIndex, note: Callable[[str], None]
    ) -> None:
        """`note` gets a text once, if Redis has no vector sets."""
        self._redis = redis
        self._fallback = fallback
        self._note = note
        self._lacks_vector_sets = False

    async def has_entries(self, group: str) -> bool:
        """Return True if a group has vectors and is not blocked."""
        group_key, block_key = _make_keys(group)
        try:
            size = await self._send(b"VCARD", group_key)
            return size not in (0, None) and await self._send(b"EXISTS", block_key) == 0
        except StoreUnavailable:
            return False
        except _NoVectorSets:
            return await self._fallback.has_entries(group)

    async def find_nearest(self, group: str, vector: Vector) -> Hits:
        """Find the nearest vectors of a group."""
        group_key, _ = _make_keys(group)
        arguments = (b"FP32", _pack_vector(vector), b"WITHSCORES", b"COUNT", b"%d" % _MAX_HITS)
        try:
            return _parse_hits(await self._send(b"VSIM", group_key, *arguments))
        except StoreUnavailable:
            return []
        except _NoVectorSets:
            return await self._fallback.find_nearest(group, vector)

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Add a name with its vector, unless the group is full or blocked."""
        group_key, block_key = _make_keys(group)
        try:
            size = await self._send(b"VCARD", group_key)
            if await self._send(b"EXISTS", block_key) != 0:
                return
            if not isinstance(size, int) or size < MAX_GROUP_NAMES:
                await self._send(
                    b"VADD", group_key, b"FP32", _pack_vector(vector), name.encode(), b"NOQUANT"
                )
            await self._send(b"PEXPIRE", group_key, _to_milliseconds(ttl))
        except StoreUnavailable:
            return
        except _NoVectorSets:
            await self._fallback.add(group, name, vector, ttl)

    async def remove(self, group: str, name: str) -> None:
        """Remove a name from a group."""
        try:
            await self._send(b"VREM", _make_keys(group)[0], name.encode())
        except StoreUnavailable:
            return
        except _NoVectorSets:
            await self._fallback.remove(group, name)

    async def block_group(self, group: str, ttl: float) -> None:
        """Remove a group, and add nothing to it for `ttl` seconds."""
        await self._fallback.block_group(group, ttl)
        group_key, block_key = _make_keys(group)
        try:
            await self._send(b"SET", block_key, b"1", b"PX", _to_milliseconds(ttl))
            await self._send(b"DEL", group_key)
        except StoreUnavailable:
            return

    async def _send(self, command: bytes, key: bytes, *arguments: bytes) -> Reply:
        """Send a command on a key, and return the reply. Raises StoreUnavailable, _NoVectorSets."""
        if self._lacks_vector_sets and command.startswith(b"V"):
            raise _NoVectorSets
        answer = await self._redis.execute_raw(key, command, key, *arguments)
        if not isinstance(answer, RedisError):
            return answer
        if not command.startswith(b"V") or not answer.text.startswith(_UNSUPPORTED_ERRORS):
            raise self._redis.handle_error(key, answer)
        if not self._lacks_vector_sets:
            self._lacks_vector_sets = True
            self._note(
                "has no vector sets (Redis 8 has them): each process finds only its "
                "own near questions"
            )
        raise _NoVectorSets


def compute_cosine(first: Vector, second: Vector) -> float:
    """Compute the cosine of two vectors, -1 to 1; 0 if they cannot be compared."""
    if len(first) != len(second):
        return 0.0
    length = math.sqrt(math.sumprod(first, first) * math.sumprod(second, second))
    return math.sumprod(first, second) / length if length else 0.0


def _make_keys(group: str) -> tuple[bytes, bytes]:
    """Return the Redis key of a group's vectors, and the key that marks it as blocked."""
    return KEY_PREFIX + group.encode(), KEY_PREFIX + b"closed-" + group.encode()


def _to_milliseconds(ttl: float) -> bytes:
    return b"%d" % max(1, int(ttl * 1000))


def _pack_vector(vector: Vector) -> bytes:
    return array("f", vector).tobytes()


def _parse_hits(reply: object) -> Hits:
    """Read names and cosines (-1 to 1) from a reply, whose scores are from 0 to 1."""
    if not isinstance(reply, list):
        return []
    try:
        return [
            (name.decode("ascii", "replace"), 2 * float(score) - 1)
            for name, score in zip(reply[::2], reply[1::2], strict=True)
        ]
    except (ValueError, AttributeError, TypeError):
        return []
