"""Rows of clients that leave."""

from tests.chaos.caller import leaving_clients

ROWS = leaving_clients.ROWS
