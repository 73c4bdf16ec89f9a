"""Rows of a host that fails: its disk, clock, descriptors, memory, processes."""
