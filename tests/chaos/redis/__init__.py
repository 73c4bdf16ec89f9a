"""Rows of a Redis that is lost, refuses, moves or is written by others."""

from tests.chaos.redis import gone, refusing, several, values

ROWS = (*gone.ROWS, *refusing.ROWS, *several.ROWS, *values.ROWS)
