"""Errors of limits and keys. That counters are out of reach is `state.errors.StoreUnavailable`.

LimitsError
    KeyFileError   a file of keys that cannot be changed
"""


class LimitsError(Exception):
    """The base of all errors of this package."""


class KeyFileError(LimitsError):
    """Why a file of keys was not changed."""
