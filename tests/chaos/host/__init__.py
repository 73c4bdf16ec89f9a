"""Rows of a host that fails: its disk, clock, descriptors, memory, processes."""

from tests.chaos.host import clock, disk, process, reload, resource_limits

ROWS = (*disk.ROWS, *process.ROWS, *reload.ROWS, *clock.ROWS, *resource_limits.ROWS)
