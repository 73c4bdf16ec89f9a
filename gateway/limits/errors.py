"""Errors of limits and keys. Unavailable counters raise `state.errors.StoreUnavailable`.

LimitsError
    KeyFileError   a key file that cannot be changed
"""


class LimitsError(Exception):
    """The base of all errors of this package."""


class KeyFileError(LimitsError):
    """An error that says why a key file was not changed."""
