"""Rows of clients that leave, are slow, or send something that is no request."""

from tests.chaos.caller import leaving_clients, odd_requests, slow_clients

ROWS = (*leaving_clients.ROWS, *slow_clients.ROWS, *odd_requests.ROWS)
