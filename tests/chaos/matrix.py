"""All rows of the fault matrix."""

from tests.chaos import caller, host, redis, upstream

ROWS = (*upstream.ROWS, *redis.ROWS, *host.ROWS, *caller.ROWS)
