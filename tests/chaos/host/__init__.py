"""Rows of a host that fails: its disk, clock, descriptors, memory, processes."""

from tests.chaos.host import clock, disk, process, room

ROWS = (*disk.ROWS, *process.ROWS, *clock.ROWS, *room.ROWS)
