"""Ledger queries of admins' endpoints: functions of a store that run in a query process.

A query process imports these modules, so they import no web framework and nothing that serves.
"""

MAX_SECONDS = 10.0
"""The longest time in which the store answers the questions of one request that may read rows."""
