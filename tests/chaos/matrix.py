"""All rows of the fault matrix."""

from tests.chaos import caller, host, redis
from tests.chaos.upstream import connect, hang

ROWS = (*connect.ROWS, *hang.ROWS, *redis.ROWS, *host.ROWS, *caller.ROWS)
