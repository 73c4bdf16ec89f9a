"""Rows of a host that fails: its disk, clock, descriptors, memory, processes."""

from tests.chaos.host import disk

ROWS = (*disk.ROWS,)
