"""Rows of a host that fails: its disk, clock, descriptors, memory, processes."""

from tests.chaos.host import clock, disk, resource_limits

ROWS = (*disk.ROWS, *clock.ROWS, *resource_limits.ROWS)
