"""Where several processes count the turns of a key together, by cell."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from gateway.limits.counters import CountersUnavailable
from gateway.routing.recent import TURNS, RecentTurns
from gateway.routing.tier_share import SIZE
from gateway.state.redis.client import RedisAway
from gateway.state.redis.connection import Reply
from gateway.state.redis.script import Script
from gateway.state.redis.scripts import ScriptRunner, key, tag_of

_KEEP = 30 * 86_400
"""Seconds after which what nobody adds to is let go."""
_ADD = Script("recent")
_encode = msgspec.msgpack.Encoder().encode
_pairs = msgspec.msgpack.Decoder(list[int])


class TurnPool(Protocol):
    """Where several processes count the same turns."""

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        """Count more turns of a name; return those of all processes. Raises CountersUnavailable."""
        ...


class RedisTurnPool:
    """A TurnPool in Redis or Valkey: one hash a name, one script and one round trip.

    Turns whose answer was lost may be counted twice.
    """

    def __init__(self, counters: ScriptRunner) -> None:
        self._counters = counters

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        """Count more turns under a name."""
        digest = blake2b(name.encode(), digest_size=12).hexdigest()
        at = key(tag_of(tenant), b"turns:" + digest.encode())
        cells = [part for cell, many in enumerate(counts) if many for part in (cell, many)]
        try:
            return _recent(await self._counters.on(_ADD, at, _encode((TURNS, _KEEP, SIZE, cells))))
        except RedisAway:
            raise CountersUnavailable from None


def _recent(reply: Reply) -> RecentTurns:
    """What a hash holds. Raises CountersUnavailable where it is none of ours."""
    found = RecentTurns()
    try:
        fields = reply if isinstance(reply, list) else [None]
        for field, value in zip(fields[::2], fields[1::2], strict=True):
            if not isinstance(field, bytes) or not isinstance(value, bytes):
                raise CountersUnavailable
            if field == b"before":
                pairs = _pairs.decode(value)
                for cell, many in zip(pairs[::2], pairs[1::2], strict=True):
                    _count(found.before, cell, many)
            elif field != b"size":
                _count(found.now, int(field), int(value))
    except (msgspec.MsgspecError, ValueError, IndexError):
        raise CountersUnavailable from None
    return found


def _count(counts: list[int], cell: int, many: int) -> None:
    if cell < 0 or many < 0:
        raise ValueError
    counts[cell] = many
