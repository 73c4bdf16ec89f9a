"""Errors of limits and keys. Unavailable counters raise `state.errors.StoreUnavailable`.

LimitsError
    KeyChangeError   a change to a key that is refused
        KeyFileError   a key file that cannot be changed
    KeyStoreError    a key database that cannot be reached, read or written
        NewerKeyStoreError    one that a newer version has made
"""

from typing import Literal


class LimitsError(Exception):
    """The base of all errors of this package."""


class KeyChangeError(LimitsError):
    """An error that says why a key was not changed, and what to do."""

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["invalid", "unknown", "conflict"] = "conflict",
        setting: str = "",
    ) -> None:
        """`invalid`: a wrong name or setting; `unknown`: no such key; `conflict`: its state."""
        super().__init__(message)
        self.kind = kind
        self.setting = setting
        """The setting at fault; empty for others."""


class KeyFileError(KeyChangeError):
    """An error that says why a key file was not changed."""


class KeyStoreError(LimitsError):
    """An error of a key database. Its text never shows a password."""


class NewerKeyStoreError(KeyStoreError):
    """A key database that a newer version has made: no wait and no last known copy helps."""
