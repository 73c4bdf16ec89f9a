"""Rows of a host that fails: its disk, clock, descriptors, memory, processes."""

from tests.chaos.host import clock, disk, process, reload, room

ROWS = (*disk.ROWS, *process.ROWS, *reload.ROWS, *clock.ROWS, *room.ROWS)
