"""All rows of the fault matrix."""

from tests.chaos import caller, host, redis, sdk, upstream

ROWS = (*upstream.ROWS, *redis.ROWS, *host.ROWS, *caller.ROWS, *sdk.ROWS)
