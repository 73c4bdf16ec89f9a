"""Rows of clients that leave, are slow, or send something that is no request."""

from tests.chaos.caller import gone, hostile, slow

ROWS = (*gone.ROWS, *slow.ROWS, *hostile.ROWS)
