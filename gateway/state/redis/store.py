"""State in Redis or Valkey (one server, Sentinel's primary or a Cluster): values and counters.

All commands to a server share one connection. Large values go over another, so that no command
waits behind them.
"""

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.scripts import ScriptRunner

KEY_PREFIX = b"tiergate:"
_LARGE_BYTES = 64 * 1024
"""Bytes from which a value goes over the connection for large values."""
_MAX_BYTES = 8 * 1024 * 1024
"""The most bytes of a value. A longer one is not the gateway's, and is not returned."""


class RedisStore(ScriptRunner):
    """A StateStore, with the counters of all tenants."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None within two deadlines if Redis does not answer."""
        redis_key = KEY_PREFIX + key.encode()
        try:
            value = await self.execute(
                redis_key, b"GETRANGE", redis_key, b"0", b"%d" % (_LARGE_BYTES - 1)
            )
            if isinstance(value, bytes) and len(value) == _LARGE_BYTES:
                value = await self.execute_bulk(
                    redis_key, b"GETRANGE", redis_key, b"0", b"%d" % _MAX_BYTES
                )
        except StoreUnavailable:
            return None
        return value if isinstance(value, bytes) and 0 < len(value) <= _MAX_BYTES else None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; do nothing if Redis does not answer in time."""
        if ttl <= 0 or len(value) > _MAX_BYTES:
            return
        redis_key = KEY_PREFIX + key.encode()
        execute = self.execute if len(value) < _LARGE_BYTES else self.execute_bulk
        try:
            await execute(redis_key, *_make_set(redis_key, value, ttl))
        except StoreUnavailable:
            return

    def put_nowait(self, key: str, value: bytes, ttl: float) -> None:
        """Do the same as `put` without waiting."""
        if len(value) >= _LARGE_BYTES:
            self._health.spawn(self.put(key, value, ttl), at_once=True)
        elif ttl > 0:
            redis_key = KEY_PREFIX + key.encode()
            self.send_nowait(redis_key, *_make_set(redis_key, value, ttl))


def _make_set(redis_key: bytes, value: bytes, ttl: float) -> tuple[bytes, ...]:
    """Return the words of the command that keeps a value for `ttl` seconds."""
    return b"SET", redis_key, value, b"PX", b"%d" % max(1, int(ttl * 1000))
