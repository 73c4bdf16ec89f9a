"""Rows of a Redis that is lost, refuses, moves or is written by others."""

from tests.chaos.redis import keys_and_connections, lost_redis, refusing_redis

ROWS = (
    *lost_redis.ROWS,
    *refusing_redis.ROWS,
    *keys_and_connections.ROWS,
)
