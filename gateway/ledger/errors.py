"""Errors of the ledger.

LedgerError
JournalError            a row that is not in the journal
LedgerQueryError        a query that cannot be asked
GarbledValueError       a value that nobody can have written (sqlite_damage.py)
StoreError              a store that cannot be used
StoreDamagedError     its file cannot be read any more
StoreRebuildingError  it does not have all rows of the journals yet
"""


class LedgerError(Exception):
    """The base of all errors of this package."""


class JournalError(LedgerError, OSError):
    """A row that is not in the journal, or rows that may not be on the disk; `errno` says why."""


class LedgerQueryError(LedgerError, ValueError):
    """What cannot be asked; the text says what can, and `parameter` which part it is about."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class StoreError(LedgerError):
    """A store that cannot be used: its URL, its server, or the version that made it.

    The text never holds the URL's password.
    """


class StoreDamagedError(StoreError):
    """A store whose file cannot be read any more, although it can be opened."""


class StoreRebuildingError(StoreError):
    """A store that is fed anew from the journals, and has not all of their rows yet."""
