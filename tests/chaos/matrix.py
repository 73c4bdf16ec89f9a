"""All rows of the fault matrix."""

from tests.chaos import caller, redis
from tests.chaos.upstream import connect, hang

ROWS = (*connect.ROWS, *hang.ROWS, *redis.ROWS, *caller.ROWS)
