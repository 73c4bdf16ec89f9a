"""All rows of the fault matrix."""

from tests.chaos import caller, elsewhere, host, redis, sdk, upstream

ROWS = (*upstream.ROWS, *redis.ROWS, *host.ROWS, *caller.ROWS, *elsewhere.ROWS, *sdk.ROWS)
