"""Trials of an upgrade: the version before, with its data, becomes this one."""
