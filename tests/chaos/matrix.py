"""All rows of the fault matrix."""

from tests.chaos.redis import gone
from tests.chaos.upstream import connect, hang

ROWS = (*connect.ROWS, *hang.ROWS, *gone.ROWS)
