"""Errors of limits and keys.

LimitsError
CountersUnavailable   a counter store that cannot be reached in time
KeyFileError          a file of keys that cannot be changed
"""


class LimitsError(Exception):
    """The base of all errors of this package."""


class CountersUnavailable(LimitsError):
    """Whoever counts cannot be reached in time."""


class KeyFileError(LimitsError):
    """Why a file of keys was not changed."""
