"""State in Redis or Valkey, one server, Sentinel's primary or a Cluster: values and counters.

All that is asked goes over one connection to each server, but for what is large: behind it others
would wait.
"""

from gateway.state.errors import RedisAway
from gateway.state.redis.connection import request
from gateway.state.redis.scripts import ScriptRunner

PREFIX = b"tiergate:"
_SET = b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"
_LARGE = 64 * 1024
"""Bytes from which a value goes over a connection of its own."""
_MOST = 8 * 1024 * 1024
"""Bytes of the longest value: another one was put there by somebody else, and is not fetched."""


class RedisStore(ScriptRunner):
    """A Store, and the counters of all tenants."""

    async def get(self, key: str) -> bytes | None:
        """The value of a key; None within two deadlines where it does not answer."""
        name = PREFIX + key.encode()
        try:
            value = await self.ask(name, request(b"GETRANGE", name, b"0", b"%d" % (_LARGE - 1)))
            if isinstance(value, bytes) and len(value) == _LARGE:
                whole = request(b"GETRANGE", name, b"0", b"%d" % _MOST)
                value = await self.ask_much(name, whole)
        except RedisAway:
            return None
        return value if isinstance(value, bytes) and 0 < len(value) <= _MOST else None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value; not at all where that cannot be done within the deadline."""
        if ttl <= 0 or len(value) > _MOST:
            return
        name = PREFIX + key.encode()
        ask = self.ask if len(value) < _LARGE else self.ask_much
        try:
            await ask(name, _kept(name, value, ttl))
        except RedisAway:
            return

    def post(self, key: str, value: bytes, ttl: float) -> None:
        """The same, where nobody waits for it."""
        if len(value) >= _LARGE:
            self._doubt.spawn(self.put(key, value, ttl), at_once=True)
        elif ttl > 0:
            name = PREFIX + key.encode()
            self.tell(name, _kept(name, value, ttl))


def _kept(name: bytes, value: bytes, ttl: float) -> bytes:
    """A request that keeps a value for `ttl` seconds."""
    life = b"%d" % max(1, int(ttl * 1000))
    return _SET % (len(name), name, len(value), value, len(life), life)
