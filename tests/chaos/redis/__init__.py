"""Rows of a Redis that is lost, refuses, moves or is written by others."""

from tests.chaos.redis import keys_and_connections, lost_redis, refusing_redis, sentinel_and_cluster

ROWS = (
    *lost_redis.ROWS,
    *refusing_redis.ROWS,
    *sentinel_and_cluster.ROWS,
    *keys_and_connections.ROWS,
)
