"""All rows of the fault matrix."""

from tests.chaos import caller, host, redis, sdk, unplayed_rows, upstream

ROWS = (*upstream.ROWS, *redis.ROWS, *host.ROWS, *caller.ROWS, *unplayed_rows.ROWS, *sdk.ROWS)
