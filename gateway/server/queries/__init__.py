"""Ledger queries of admins' endpoints: functions of a store that run in a query process.

A query process imports these modules, so they import no web framework and nothing that serves.
"""
