"""Where vectors of questions are: in this process, or in Redis for several (vector sets of 8.0)."""

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable

from gateway.cache.semantic.cache import Hits, Vector, VectorIndex
from gateway.state.errors import RedisAway
from gateway.state.redis.connection import RedisError, Reply, request
from gateway.state.redis.store import PREFIX, RedisStore
from gateway.state.redis.topology import slot_of

MOST = 32_000_000
"""Bytes of what one process remembers, about: the questions that were used last."""
_BESIDE = 600
"""Bytes of a group, and of a name, beside its vector: measured with tracemalloc."""
EACH = 16
"""Wordings of a question that are remembered."""
_FEW = 3
_UNKNOWN = ("ERR unknown command", "NOPERM")
"""How a server says that it has no vector sets, or none for us."""


class LocalVectorIndex:
    """Places of one process."""

    def __init__(self, *, clock: Callable[[], float], most: int = MOST) -> None:
        """`clock` is monotonic seconds."""
        self._clock = clock
        self._most = most
        self._groups: OrderedDict[str, dict[str, tuple[array[float], float]] | float] = (
            OrderedDict()
        )
        """Names with vector and expiry; until when, of a group that is closed."""
        self._size = 0

    async def any(self, group: str) -> bool:
        """Whether a group has anything."""
        return bool(self._open(group))

    async def nearest(self, group: str, vector: Vector) -> Hits:
        """What of a group is nearest, of those that have not expired."""
        found = [
            (name, cosine(vector, own))
            for name, (own, until) in (self._open(group) or {}).items()
            if self._clock() < until
        ]
        return sorted(found, key=lambda one: -one[1])[:_FEW]

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Keep a name, at the expense of the oldest of a group, and of groups not used."""
        names = self._open(group)
        if names is None:
            return
        names = {**names, name: (array("f", vector), self._clock() + ttl)}
        if len(names) > EACH:
            del names[next(iter(names))]
        self._keep(group, names)

    async def remove(self, group: str, name: str) -> None:
        """Drop a name."""
        names = self._open(group)
        if names:
            self._keep(group, {one: own for one, own in names.items() if one != name})

    async def close(self, group: str, ttl: float) -> None:
        """Drop a group for a while."""
        self._keep(group, self._clock() + ttl)

    def _open(self, group: str) -> dict[str, tuple[array[float], float]] | None:
        """What a group has; None where it is closed."""
        found = self._groups.get(group)
        if found is None:
            return {}
        self._groups.move_to_end(group)
        if isinstance(found, float):
            return None if self._clock() < found else {}
        return found

    def _keep(self, group: str, value: dict[str, tuple[array[float], float]] | float) -> None:
        self._size += _weight(value) - _weight(self._groups.get(group))
        self._groups[group] = value
        self._groups.move_to_end(group)
        while self._size > self._most:
            self._size -= _weight(self._groups.popitem(last=False)[1])


def _weight(value: dict[str, tuple[array[float], float]] | float | None) -> int:
    """Bytes of a group."""
    if value is None:
        return 0
    own = value.values() if isinstance(value, dict) else ()
    return _BESIDE + sum(_BESIDE + vector.itemsize * len(vector) for vector, _ in own)


class _Lacking(Exception):
    """The server has no vector sets."""


class RedisVectorIndex:
    """Places of all that share a Redis; where it knows no vector sets, of each process alone."""

    def __init__(
        self, redis: RedisStore, otherwise: VectorIndex, note: Callable[[str], None]
    ) -> None:
        """`note` is told once where it has none."""
        self._redis = redis
        self._otherwise = otherwise
        self._note = note
        self._none = False

    async def any(self, group: str) -> bool:
        """Whether a group has anything, and is not closed."""
        name, closed = _names(group)
        try:
            size = await self._ask(b"VCARD", name)
            return size not in (0, None) and await self._ask(b"EXISTS", closed) == 0
        except RedisAway:
            return False
        except _Lacking:
            return await self._otherwise.any(group)

    async def nearest(self, group: str, vector: Vector) -> Hits:
        """What of a group is nearest."""
        name, _ = _names(group)
        words = (b"FP32", _packed(vector), b"WITHSCORES", b"COUNT", b"%d" % _FEW)
        try:
            return _hits(await self._ask(b"VSIM", name, *words))
        except RedisAway:
            return []
        except _Lacking:
            return await self._otherwise.nearest(group, vector)

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Keep a name; not in a group that has many, or is closed."""
        at, closed = _names(group)
        try:
            many = await self._ask(b"VCARD", at)
            if await self._ask(b"EXISTS", closed) != 0:
                return
            if not isinstance(many, int) or many < EACH:
                await self._ask(b"VADD", at, b"FP32", _packed(vector), name.encode(), b"NOQUANT")
            await self._ask(b"PEXPIRE", at, _milliseconds(ttl))
        except RedisAway:
            return
        except _Lacking:
            await self._otherwise.add(group, name, vector, ttl)

    async def remove(self, group: str, name: str) -> None:
        """Drop a name."""
        try:
            await self._ask(b"VREM", _names(group)[0], name.encode())
        except RedisAway:
            return
        except _Lacking:
            await self._otherwise.remove(group, name)

    async def close(self, group: str, ttl: float) -> None:
        """Drop a group for a while, and take nothing into it."""
        await self._otherwise.close(group, ttl)
        name, closed = _names(group)
        try:
            await self._ask(b"SET", closed, b"1", b"PX", _milliseconds(ttl))
            await self._ask(b"DEL", name)
        except RedisAway:
            return

    async def _ask(self, command: bytes, name: bytes, *words: bytes) -> Reply:
        """What a command on a key answers. Raises RedisAway, _Lacking."""
        if self._none and command.startswith(b"V"):
            raise _Lacking
        reply = await self._redis.try_(name, slot_of(name), request(command, name, *words))
        if not isinstance(reply, RedisError):
            return reply
        if not command.startswith(b"V") or not reply.text.startswith(_UNKNOWN):
            raise self._redis.refused(name, reply)
        if not self._none:
            self._none = True
            self._note("has no vector sets (Redis 8 has): each process knows near questions alone")
        raise _Lacking


def cosine(one: Vector, other: Vector) -> float:
    """How near two vectors are, -1 to 1; 0 where they cannot be compared."""
    if len(one) != len(other):
        return 0.0
    length = math.sqrt(math.sumprod(one, one) * math.sumprod(other, other))
    return math.sumprod(one, other) / length if length else 0.0


def _names(group: str) -> tuple[bytes, bytes]:
    """The key of a group's vectors, and that which says that it is closed."""
    return PREFIX + group.encode(), PREFIX + b"closed-" + group.encode()


def _milliseconds(ttl: float) -> bytes:
    return b"%d" % max(1, int(ttl * 1000))


def _packed(vector: Vector) -> bytes:
    return array("f", vector).tobytes()


def _hits(reply: object) -> Hits:
    """Names and scores, which are from 0 to 1 where a cosine is from -1 to 1."""
    if not isinstance(reply, list):
        return []
    try:
        return [
            (name.decode("ascii", "replace"), 2 * float(score) - 1)
            for name, score in zip(reply[::2], reply[1::2], strict=True)
        ]
    except (ValueError, AttributeError, TypeError):
        return []
